"""The synthetic set's inputs have the sizes that a run asks for."""

from pathlib import Path

from rich.console import Console

from orchestration.flows import synthetic_inputs
from orchestration.flows.synthetic_inputs import INPUT_SIZE, Step, input_steps
from orchestration.folds.flags import LOSO
from orchestration.run_loso import find_inputs


def made_for(words: list[str], monkeypatch) -> tuple[list[Step], tuple[object, object]]:
    steps: list[Step] = []
    monkeypatch.setattr(synthetic_inputs, "run_steps", lambda new, _: steps.extend(new) or 0)
    return steps, find_inputs(LOSO.parse(words), Console(quiet=True))


def test_a_run_without_flows_makes_and_takes_the_teacher_of_its_input_size(monkeypatch):
    steps, found = made_for(["--input-size", "56"], monkeypatch)
    assert found == (Path("demo/flows/synthetic"), Path("demo/teacher-56.safetensors"))
    words = steps[-1].words
    assert words[words.index("--input-size") + 1] == "56"
    assert words[words.index("--out") + 1] == str(found[1])


def test_a_run_of_the_demo_s_input_size_takes_the_demo_s_teacher(monkeypatch):
    steps, found = made_for(["--input-size", str(INPUT_SIZE)], monkeypatch)
    assert found[1] == Path("demo/teacher.safetensors")
    assert steps == input_steps(Path("demo"))
