"""Settings of an experiment in few words, and the preset that they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from dadnet.base.errors import DadnetError
from dadnet.config.baselines import BASELINES, FITTED_BASELINES
from dadnet.config.experiment import DataConfig
from dadnet.config.presets import PRESETS, get_preset
from results.ledger.records import Experiment, flat

# Settings with a short name, in the order in which a row names them.
_LABELS = {
    "loss.alignment_weight": "lambda",
    "loss.alignment_stages": "stages",
    "loss.num_projections": "projections",
    "loss.gswd_form": "points",
    "model.stn": "spatial transformer",
    "model.channel_attention": "channel attention",
    "model.flow_correction": "correction",
    "model.head": "head",
    "model.input_size": "pixels",
    "model.drop_path": "drop path",
    "optim.epochs": "epochs",
    "optim.lr": "lr",
    "optim.batch_size": "batch",
    "optim.augmentation": "augmentation",
    "data.normalisation": "normalisation",
}
_ORDER = {key: number for number, key in enumerate(_LABELS)}
_TWO_STREAMS = ("dad_net", "baseline")
# A recipe with more changes than these is another one.
_MOST_CHANGES = 3


def place(key: str) -> tuple[int, str]:
    """Return where a setting stands among those that a row names."""
    return _ORDER.get(key, len(_ORDER)), key


def of_recipe(key: str) -> bool:
    """Whether a preset decides this setting."""
    return key.partition(".")[0] in ("model", "loss", "optim")


def in_words(key: str, value: str) -> str:
    """Return a setting in words, such as ``lambda 1.5`` or ``no spatial transformer``."""
    label = _LABELS.get(key) or key.rpartition(".")[2].replace("_", " ")
    if value in ("True", "False"):
        return label if value == "True" else f"no {label}"
    if len(value) >= 16 and not value.strip("0123456789abcdef"):
        value = value[:8]  # a digest
    return f"{label} {value.strip('[]').replace(', ', ',')}"


def exact_preset(experiment: Experiment) -> str | None:
    """Return the name of the preset whose settings these are; None if there is none."""
    name, changes = _nearest(experiment)
    return None if changes else name


def preset_text(experiment: Experiment) -> str | None:
    """Return the preset of an experiment with what was changed in it, in a few words.

    Such as ``smoke`` or ``smoke, epochs 20``; None if more than three settings are others.
    """
    name, changes = _nearest(experiment)
    return None if name is None else ", ".join([name, *changes])


def _nearest(experiment: Experiment) -> tuple[str | None, list[str]]:
    config = dict(experiment.settings)
    kind = config.get("model.model_type")
    if kind is None:
        return None, []
    data = (config.get("data.dataset", ""), config.get("data.class_set", ""))
    mine = _used(config, kind)
    found: tuple[str | None, list[str]] = (None, [])
    fewest = _MOST_CHANGES + 1
    for name, (other, recipe) in _recipes(*data, config.get("data.selection", "")).items():
        if kind != other and not {kind, other} <= {*_TWO_STREAMS}:
            continue
        theirs = _used(recipe, kind)
        changed = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
        if len(changed) < fewest:
            fewest = len(changed)
            words = [in_words(key, mine.get(key, "none")) for key in sorted(changed, key=place)]
            found = (name, words)
    return found


def _used(settings: Mapping[str, str], kind: str) -> dict[str, str]:
    """Return the settings of a recipe that a model of this kind uses, as in its digest."""
    used = {
        key: value
        for key, value in settings.items()
        if of_recipe(key) and key != "model.model_type"
    }
    if kind != "dad_net":
        used = {
            key: value
            for key, value in used.items()
            if key != "model.macro_size" and (key[:5] != "loss." or key == "loss.label_smoothing")
        }
    if kind in BASELINES:
        used = {k: v for k, v in used.items() if k[:6] != "model." or k == "model.input_size"}
    if kind in FITTED_BASELINES:
        used = {key: value for key, value in used.items() if key[:6] == "model."}
    return used


@lru_cache(maxsize=256)
def _recipes(dataset: str, class_set: str, selection: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return name -> kind of model and settings of each preset for such data."""
    chosen = selection if selection in ("inner", "last", "oracle") else "inner"
    recipes = {}
    for name in PRESETS:
        try:
            data = DataConfig(dataset=dataset, class_set=class_set, selection=chosen)  # type: ignore[arg-type]
            config = get_preset(name, data).to_json()
        except DadnetError:  # data of no known form
            return {}
        recipes[name] = (str(config["model"]["model_type"]), dict(flat(config)))
    return recipes
