"""CASME II: 147 clips call for smaller students, stronger augmentation and fewer modules."""

from search_spaces.recipe import RecipeSpace

SPACE = RecipeSpace(
    sizes=("ultralight", "micro", "small", "base"),
    augmentations=("none", "hflip", "standard"),
    pruned=True,
).space("casme2", "alignment, student size, augmentation and pruned modules for CASME II")
