"""Features that our TrackMate files declare, with TrackMate's own keys, names and dimensions."""

from typing import Any

# key: name, short name, dimension, whole number
SPOT_FEATURES = {
    "QUALITY": ("Quality", "Quality", "QUALITY", False),
    "POSITION_X": ("X", "X", "POSITION", False),
    "POSITION_Y": ("Y", "Y", "POSITION", False),
    "POSITION_Z": ("Z", "Z", "POSITION", False),
    "POSITION_T": ("T", "T", "TIME", False),
    "FRAME": ("Frame", "Frame", "NONE", True),
    "RADIUS": ("Radius", "R", "LENGTH", False),
    "VISIBILITY": ("Visibility", "Visibility", "NONE", True),
    "LABEL": ("Label", "Label", "NONE", True),
    "AREA": ("Area", "Area", "AREA", False),
    "PERIMETER": ("Perimeter", "Perimeter", "LENGTH", False),
    "SOLIDITY": ("Solidity", "Solidity", "NONE", False),
}
INTENSITIES = {
    "MEAN": ("intensity_mean", "Mean intensity"),
    "MEDIAN": ("intensity_median", "Median intensity"),
    "MIN": ("intensity_min", "Min intensity"),
    "MAX": ("intensity_max", "Max intensity"),
    "TOTAL": ("intensity_sum", "Sum intensity"),
    "STD": ("intensity_std", "Std intensity"),
}
EDGE_FEATURES = {
    "SPOT_SOURCE_ID": ("Source spot ID", "Source ID", "NONE", True),
    "SPOT_TARGET_ID": ("Target spot ID", "Target ID", "NONE", True),
    "LINK_COST": ("Edge cost", "Cost", "COST", False),
    "SPEED": ("Speed", "Speed", "VELOCITY", False),
    "DISPLACEMENT": ("Displacement", "Disp.", "LENGTH", False),
    "EDGE_TIME": ("Edge time", "Edge T", "TIME", False),
    "EDGE_X_LOCATION": ("Edge X", "Edge X", "POSITION", False),
    "EDGE_Y_LOCATION": ("Edge Y", "Edge Y", "POSITION", False),
    "EDGE_Z_LOCATION": ("Edge Z", "Edge Z", "POSITION", False),
}
TRACK_FEATURES = {
    "TRACK_INDEX": ("Track index", "Index", "NONE", True),
    "TRACK_ID": ("Track ID", "ID", "NONE", True),
    "NUMBER_SPOTS": ("Number of spots in track", "N spots", "NONE", True),
    "NUMBER_GAPS": ("Number of gaps", "N gaps", "NONE", True),
    "NUMBER_SPLITS": ("Number of split events", "N splits", "NONE", True),
    "NUMBER_MERGES": ("Number of merge events", "N merges", "NONE", True),
    "NUMBER_COMPLEX": ("Number of complex points", "N complex", "NONE", True),
    "LONGEST_GAP": ("Longest gap", "Lgst gap", "NONE", True),
    "TRACK_DURATION": ("Track duration", "Duration", "TIME", False),
    "TRACK_START": ("Track start", "Track start", "TIME", False),
    "TRACK_STOP": ("Track stop", "Track stop", "TIME", False),
    "TRACK_DISPLACEMENT": ("Track displacement", "Track disp.", "LENGTH", False),
}


def declarations(spots: dict[str, list[Any]]) -> dict[str, tuple[str, str, str, bool]]:
    """Return name, short name, dimension and whether whole of each feature of `spot_features`."""
    features = {key: SPOT_FEATURES[key] for key in SPOT_FEATURES if key in spots}
    for key in spots:
        if key not in features:
            statistic, _, channel = key.partition("_INTENSITY_CH")
            name = f"{INTENSITIES[statistic][1]} ch{channel}"
            features[key] = (name, f"{statistic.title()} ch{channel}", "INTENSITY", False)
    return features
