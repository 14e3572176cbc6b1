"""Classify clips with trained weights: `python -m dadnet.predict --weights W --input clip.npy`.

Class names, input size and normalisation come from the weights' card. Several weights, or the
folder of an experiment in the ledger, form an ensemble with averaged probabilities. Exit status: 0
done, 2 bad input.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dadnet.base import cli
from dadnet.config.commands import PREDICT, PredictFlags

if __name__ == "__main__":
    PREDICT.parse_first(__doc__)

from dadnet.inference.inputs import Inputs, read_inputs
from dadnet.inference.model_file import ModelCard, TrainedModel, load_model_file, read_model_file
from dadnet.inference.predictor import Prediction, Predictor, find_weights


def predict(flags: PredictFlags) -> int:
    """Classify and print; returns exit status 0.

    Raises:
        DadnetError: if weights or input cannot be used; nothing is printed then.
    """
    files = [file for path in flags.weights for file in find_weights(path)]
    if flags.card:
        models = [read_model_file(file) for file in files]
        described = [{"file": model.name, **json.loads(model.card.to_json())} for model in models]
        print(json.dumps(described, indent=1, ensure_ascii=False))
        return cli.DONE
    models = [load_model_file(file, run_source=flags.run_source) for file in files]
    predictor = Predictor(models, flags.device)
    cards = [model.card for model in models]
    flow, size = _flow_parameters(models), cards[0].model.input_size
    inputs = read_inputs(flags.input, flow, size)
    predictions = list(predictor.predict_many(clip.flow for clip in inputs.clips))
    warnings = (*inputs.warnings, *_warnings(flags, cards, inputs))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if flags.json:
        document = _document(models, inputs, predictions, warnings)
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        for clip, prediction in zip(inputs.clips, predictions, strict=True):
            print(_line(clip.name, prediction, flags.probs))
    return cli.DONE


def _flow_parameters(models: Sequence[TrainedModel]) -> dict[str, Any]:
    """Parameters of the flows from the models' cards, if all agree."""
    first = dict(models[0].card.flow)
    for model in models:
        if dict(model.card.flow) != first:
            return {"stores": f"other parameters in {models[0].name} than in {model.name}"}
    return first


def _warnings(flags: PredictFlags, cards: Sequence[ModelCard], inputs: Inputs) -> Iterable[str]:
    folds = Counter(card.made_from for card in cards if card.kind == "fold")
    planned = {card.made_from: card.origin.get("num_folds", 1) for card in cards}
    if any(path.is_dir() for path in flags.weights):
        for experiment, number in folds.items():
            if number < planned[experiment]:
                yield (
                    f"{number} of {planned[experiment]} folds of experiment {experiment} have kept "
                    "weights; the ensemble has only these"
                )
    if len(planned) > 1:
        yield f"weights of {len(planned)} different origins are averaged"
    if any(card.origin.get("selection") == "oracle" for card in cards):
        yield "the epoch of these weights was chosen on the test subjects (selection oracle)"
    seen = {subject for card in cards for subject in card.subjects}
    subjects = [clip.subject for clip in inputs.clips]
    known = sum(name in seen or f"{name.split('/')[0]}/*" in seen for name in subjects if name)
    if known:
        yield (
            f"{known} of {len(inputs.clips)} clips are of subjects that these weights were "
            "trained or validated on; these predictions are no test"
        )


def _line(name: str, prediction: Prediction, probs: bool) -> str:
    line = f"{name}: {prediction.label} ({prediction.confidence:.3f})"
    shown = ", ".join(f"{k} {v:.4f}" for k, v in prediction.probabilities.items())
    return f"{line} {shown}" if probs else line


def _document(
    models: Sequence[TrainedModel],
    inputs: Inputs,
    predictions: Sequence[Prediction],
    warnings: Sequence[str],
) -> dict[str, Any]:
    return {
        "classes": models[0].card.classes,
        "models": [
            {
                "file": model.name,
                "kind": model.card.kind,
                "made_from": model.card.made_from,
                "fold": model.card.origin.get("fold"),
                "weights_digest": model.card.weights_digest,
            }
            for model in models
        ],
        "warnings": warnings,
        "clips": [
            {
                "clip": clip.name,
                "prediction": prediction.label,
                "confidence": prediction.confidence,
                "probabilities": prediction.probabilities,
            }
            for clip, prediction in zip(inputs.clips, predictions, strict=True)
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return PREDICT.run(predict, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
