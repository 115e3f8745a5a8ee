"""What a run looks at before it changes anything."""

from types import SimpleNamespace

import pytest

from sngan_jax.base.errors import UserError
from sngan_jax.run.preparation import check_room


def test_the_width_of_images_counts():
    config = SimpleNamespace(image_size=8, num_samples=100)
    recipe = SimpleNamespace(image_shape=(8, 8_000_000, 1))
    with pytest.raises(UserError, match=r"sample grids of config\.num_samples = 100 need 429"):
        check_room(config, recipe, {}, None, [])
