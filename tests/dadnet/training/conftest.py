import pytest

from dadnet.flow.store import load_flow_store
from dadnet.folds.dataset import MicroExpressionDataset


@pytest.fixture
def dataset(store):
    return MicroExpressionDataset.from_store(load_flow_store(store), "3class", 32)
