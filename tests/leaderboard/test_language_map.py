"""The map of what each language gains, as it is drawn."""

import io
import warnings

import pytest

pytest.importorskip("matplotlib")
from xscale.leaderboard.language_map import LanguageMap, map_figure


@pytest.mark.parametrize("count", [1, 2, 5, 15])
def test_there_is_room_for_the_map_however_few_languages(count: int) -> None:
    codes = ["jv", "de", "sw", "ht", "en", "qu", "th", "vi", "tr", "id", "it", "et", "ta", "zh", "fr"][:count]
    item = LanguageMap(
        subset="all",
        codes=tuple(codes),
        names=tuple("Javanese" for _ in codes),
        groups=(("Latin", "Austronesian"),) * count,
        columns=(("snli", 128),),
        base=(0.5,) * count,
        values=((0.01,),) * count,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = map_figure("XNLI, all rows: points over the baseline by language", item)
        figure.savefig(io.BytesIO(), format="svg")
    assert min(figure.axes[0].get_window_extent().bounds[2:]) > 20  # pixels
