"""DFME: the recipe went from micro (7 classes) to base (4) and pruned modules."""

from search_spaces.recipe import RecipeSpace

SPACE = RecipeSpace(
    sizes=("micro", "small", "base"), augmentations=("none", "standard"), pruned=True
).space("dfme", "alignment, student size, augmentation and pruned modules for DFME")
