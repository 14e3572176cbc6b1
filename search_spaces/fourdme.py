"""4DME: the recipe took the base student, stages 0, 2, 3 and the `standard` augmentation."""

from search_spaces.recipe import RecipeSpace

SPACE = RecipeSpace(
    sizes=("micro", "small", "base"), augmentations=("hflip", "standard"), pruned=False
).space("fourdme", "alignment, student size and augmentation for 4DME")
