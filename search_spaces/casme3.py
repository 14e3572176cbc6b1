"""CAS(ME)^3: the recipe took the base student, stages 0 and 3 and flips."""

from search_spaces.recipe import RecipeSpace

SPACE = RecipeSpace(
    sizes=("micro", "small", "base"), augmentations=("hflip", "standard"), pruned=False
).space("casme3", "alignment, student size and augmentation for CAS(ME)^3")
