import numpy as np
import pytest

from merit.metrics.calibration import BIN_COUNT, CalibrationBins


def test_bins_have_equal_mass_and_their_curve_rises_from_the_lowest() -> None:
    predicted = np.linspace(1, 0, 40)
    curve = CalibrationBins(predicted, np.ones(40)).compute_curve()
    assert [rows for _, _, rows in curve] == [4] * BIN_COUNT
    means = [mean for mean, _, _ in curve]
    assert means == sorted(means)
    assert {observed for _, observed, _ in curve} == {1.0}


def test_fewer_rows_than_bins_make_a_bin_of_each() -> None:
    curve = CalibrationBins(np.array([0.9, 0.5, 0.1]), np.array([1, 0, 0])).compute_curve()
    assert curve == [(0.1, 0.0, 1), (0.5, 0.0, 1), (0.9, 1.0, 1)]


def test_the_gap_of_a_row_stands_in_the_column_of_its_bin_alone() -> None:
    predicted = np.full(20, 0.25)
    gaps = CalibrationBins(predicted, np.arange(20) < 2).compute_gaps()
    assert gaps.shape == (20, BIN_COUNT)
    assert gaps[0].tolist() == [0.75] + [0.0] * (BIN_COUNT - 1)
    assert gaps[-1].tolist() == [0.0] * (BIN_COUNT - 1) + [-0.25]
    assert np.abs(gaps.mean(0)).sum() == pytest.approx(0.3)  # as the definition of the expected calibration error says
