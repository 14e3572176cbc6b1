"""The networks, their loss, and their weight files."""

from dadnet.models.blocks import FlowCorrection as FlowCorrection
from dadnet.models.blocks import correct_flow as correct_flow
from dadnet.models.dad_net import DADNet as DADNet
from dadnet.models.dad_net import get_dad_net as get_dad_net
from dadnet.models.loss import LossParts as LossParts
from dadnet.models.loss import classification_loss as classification_loss
from dadnet.models.loss import dad_net_loss as dad_net_loss
from dadnet.models.loss import draw_directions as draw_directions
from dadnet.models.loss import gswd as gswd
from dadnet.models.microflownext import MODEL_SIZES as MODEL_SIZES
from dadnet.models.microflownext import MicroFlowNeXt as MicroFlowNeXt
from dadnet.models.microflownext import ModelOutput as ModelOutput
from dadnet.models.microflownext import count_parameters as count_parameters
from dadnet.models.microflownext import get_microflownext as get_microflownext
from dadnet.models.public_checkpoints import LoadReport as LoadReport
from dadnet.models.public_checkpoints import load_reference_state as load_reference_state
from dadnet.models.public_checkpoints import stream_of as stream_of
from dadnet.models.weights import load_weights as load_weights
from dadnet.models.weights import save_weights as save_weights
from dadnet.models.weights import stated_input_size as stated_input_size
from dadnet.models.weights import weights_digest as weights_digest
