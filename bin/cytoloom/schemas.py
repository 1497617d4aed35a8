"""The declared columns of every kind of table: name, type, unit, meaning.

One line per column. ``?`` after the type marks a column that may be null. Columns of
the same name mean the same thing in every kind. Names of measurements in pixels are
scikit-image's ``regionprops`` names; their physical twins end in the unit.
"""

from __future__ import annotations

import pyarrow as pa

_TYPES = {
    "text": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "labels": pa.list_(pa.uint32()),
    "ids": pa.list_(pa.int64()),
}

_OBJECT = """
position        text    -        position (field of view)
frame           int32   frame    time index, from 0
label           uint32  -        number of the object in its label image, unique in the frame
channel         text    -        image that was measured
label_channel   text    -        label image that gave the outlines
z               float   px       centroid
y               float   px       centroid
x               float   px       centroid
z_um            float   um       centroid
y_um            float   um       centroid
x_um            float   um       centroid
bbox_z0         int32   px       bounding box, first plane
bbox_y0         int32   px       bounding box, first row
bbox_x0         int32   px       bounding box, first column
bbox_z1         int32   px       bounding box, plane after the last
bbox_y1         int32   px       bounding box, row after the last
bbox_x1         int32   px       bounding box, column after the last
area            int64   px       number of pixels (2-D) or voxels (3-D)
area_um2        float?  um2      area (2-D)
volume_um3      float?  um3      volume (3-D)
equivalent_diameter_area float? px diameter of the disc or ball of the same area or volume
equivalent_radius_um float? um    radius of that disc or ball
feret_diameter_max float? px     greatest distance between two points of the convex hull
feret_radius_um float?  um       half of it
perimeter       float?  px       length of the outline (2-D)
perimeter_um    float?  um       length of the outline (2-D; null where pixels are not square)
axis_major_length float? px      major axis of the ellipse with the same second moments
axis_minor_length float? px      minor axis of that ellipse
axis_major_um   float?  um       major axis, from the second moments in micrometre
axis_minor_um   float?  um       minor axis, from the second moments in micrometre
eccentricity    float?  -        of that ellipse (2-D)
orientation     float?  rad      angle between axis y and the major axis (2-D)
elongation      float?  -        major axis / minor axis, both in micrometre; null: no width
extent          float?  -        area / area of the bounding box
solidity        float?  -        area / area of the convex hull
intensity_sum   float?  counts   sum
intensity_mean  float?  counts   mean
intensity_median float? counts   median
intensity_std   float?  counts   standard deviation (population)
intensity_min   float?  counts   minimum
intensity_max   float?  counts   maximum
intensity_p05   float?  counts   5th percentile
intensity_p25   float?  counts   25th percentile
intensity_p75   float?  counts   75th percentile
intensity_p95   float?  counts   95th percentile
probability     float?  -        of the object, by the network that found it
class_id        int32?  -        class of the object, by the network that found it
"""

_TRACK = """
track_id        int64?  -        unbranched track; null: untracked
parent_track_id int64?  -        track that this one split from; null: none
tree_id         int64?  -        lineage tree
generation      int32?  -        number of splits before this track
"""

_DECLARED = {
    "detections": """
position        text    -        position
frame           int32   frame    time index, from 0
label           uint32  -        number of the object in its label image, unique in the frame
label_channel   text    -        label image
probability     float?  -        of the object, by the network that found it
class_id        int32?  -        class of the object, by the network that found it
""",
    "frames": """
position        text    -        position
channel         text    -        channel of the file
frame           int32   frame    time index, from 0
time_s          float?  s        when it was taken, since the start of the acquisition
stage_z_um      float?  um       position of the stage
stage_y_um      float?  um       position of the stage
stage_x_um      float?  um       position of the stage
""",
    "cells": _OBJECT,
    "tracks": _OBJECT + _TRACK,
    "edges": """
position        text    -        position
frame           int32   frame    frame of the earlier object
label           uint32  -        label of the earlier object
next_frame      int32   frame    frame of the later object
next_label      uint32  -        label of the later object
track_id        int64   -        track of the earlier object
next_track_id   int64   -        track of the later object
link            text    -        link, gap, split or merge
distance_um     float   um       distance between the centroids
""",
    "solver": """
position        text    -        position
window          int32   -        window of the time-lapse, from 0
first_frame     int32   frame    first frame that the window decides
last_frame      int32   frame    last frame that it decides
solver          text    -        what solved the integer program
status          text    -        optimal (within the gap asked for) or feasible (time was up)
objective       float   -        value of the solution, the higher the better
bound           float   -        no solution has a higher value
gap             float   -        (bound - objective) / objective
solver_seconds  float   s        time of the solver
variables       int64   -        size of the program
constraints     int64   -        the same
""",
    "contacts": """
position        text    -        position
frame           int32   frame    time index, from 0
effector_channel text   -        label image of the effectors
effector_label  uint32  -        effector
effector_track_id int64? -       its track
target_channel  text    -        label image of the targets
target_label    uint32  -        target
target_track_id int64?  -        its track
distance_um     float   um       distance between the centroids
gap_um          float   um       distance between the outlines; 0: they touch or overlap
overlap_um2     float   um2      common area (2-D) or volume in um3 (3-D)
contact_length_um float? um      length of the effector's outline in contact (2-D)
contact_area_um2 float? um2      area of the effector's surface in contact (3-D)
""",
    "contact_events": """
position        text    -        position
effector_channel text   -        label image of the effectors
target_channel  text    -        label image of the targets
effector_track_id int64 -        track of the effector
target_track_id int64   -        track of the target
event           int32   -        number of the contact of this pair, from 1
start_frame     int32   frame    first frame in contact
end_frame       int32   frame    last frame in contact
start_s         float?  s        start of the first frame; null: unknown frame interval
end_s           float?  s        end of the last frame
duration_s      float?  s        end less start; one frame lasts one frame interval
frames          int32   frame    frames in contact, gaps not counted
mean_contact    float   um       mean contact length (2-D; 3-D: area in um2)
max_contact     float   um       greatest contact length (2-D; 3-D: area in um2)
""",
    "track_summary": """
position        text    -        position
label_channel   text    -        label image that gave the outlines
track_id        int64   -        track
tree_id         int64?  -        lineage tree
first_frame     int32   frame    first frame
last_frame      int32   frame    last frame
n_frames        int32   frame    number of frames in which the track was seen
duration_s      float   s        time from the first to the last point
path_length_um  float   um       sum of all steps
net_displacement_um float um     distance from the first to the last point
mean_speed_um_per_s float? um/s  path length / duration
max_speed_um_per_s float? um/s   greatest speed of a step
straightness    float?  -        net displacement / path length, 0 to 1
mean_turning_angle_rad float? rad mean angle between steps, 0 (straight on) to pi (back)
diffusion_um2_per_s float? um2/s slope of the mean squared displacement / (2 x dimensions)
""",
    "msd": """
position        text    -        position
label_channel   text    -        label image that gave the outlines
track_id        int64?  -        track; null: all tracks together
lag_frames      int32   frame    lag
lag_s           float   s        lag
msd_um2         float   um2      mean squared displacement
n               int64   -        number of pairs of points
sd_um2          float?  um2      standard deviation of the squared displacements
""",
    "drift": """
position        text    -        position
frame           int32   frame    time index, from 0
drift_z         float   px       how far all tracks together have moved since the first frame
drift_y         float   px       the same, along y
drift_x         float   px       the same, along x
drift_z_um      float   um       the same, along z
drift_y_um      float   um       the same, along y
drift_x_um      float   um       the same, along x
""",
    "bleaching": """
position        text    -        position
frame           int32   frame    time index, from 0
time_s          float?  s        time; null: unknown frame interval
method          text    -        exponential, ratio or histogram
mean_before     float?  counts   mean of the frame before the correction; null: no number in it
mean_fitted     float?  counts   fitted decay; null: other methods
mean_after      float?  counts   mean of the frame after it, before rounding and clipping
factor          float?  -        intensities above the background were multiplied by it
rate_per_frame  float?  1/frame  rate of the fitted decay
""",
    "transforms": """
position        text    -        position
frame           int32   frame    time index, from 0
channel         text    -        image that was registered
transform       text    -        translation, rigid, affine or deformable (then fields come too)
drift_z         float   px       where the centre of frame 0 is found in this frame, less the centre
drift_y         float   px       the same along y; positive: the scene moved down
drift_x         float   px       the same along x; positive: the scene moved to the right
drift_z_um      float   um       the same in micrometre
drift_y_um      float   um       the same in micrometre
drift_x_um      float   um       the same in micrometre
drift_um        float   um       length of the drift
rotation_deg    float   degree   rotation against frame 0 (2-D: positive from y to x)
correlation     float?  -        with the reference of its window, registered; null: constant image
valid_share     float   -        share of the registered frame that the frame covers
matrix_zz       float   -        p_frame = matrix p + offset; p: (z, y, x) um in frame 0's place
matrix_zy       float   -        the same
matrix_zx       float   -        the same
matrix_yz       float   -        the same
matrix_yy       float   -        the same
matrix_yx       float   -        the same
matrix_xz       float   -        the same
matrix_xy       float   -        the same
matrix_xx       float   -        the same
offset_z_um     float   um       the same
offset_y_um     float   um       the same
offset_x_um     float   um       the same
""",
    "cell_state": """
position        text    -        position
frame           int32   frame    time index, from 0
label           uint32  -        target, in its label image
track_id        int64   -        its track
live_signal     float?  -        its own mean intensity, scaled to 0..1 over the position
death_signal    float?  -        mean intensity of the death channel in its outline, scaled to 0..1
viability       float?  -        1 / (1 + mean of exp(-10 (live - 0.5)) and exp(-10 (0.5 - death)))
cdi             float?  -        cell death index, death / (live + death)
cdi_smoothed    float?  -        the same, missing frames interpolated, smoothed over time
cdi_gradient    float?  1/frame  its change per frame
alive           bool    -        before the frame of death
live_counts     float?  counts   live signal before scaling
death_counts    float?  counts   death signal before scaling
""",
    "deaths": """
position        text    -        position
target_track_id int64   -        track of the target
first_frame     int32   frame    first frame in which it was found
last_frame      int32   frame    last frame in which it was found
frames          int32   frame    number of frames in which it was found
died            bool    -        it is dead at the end of its track
censored        bool    -        it was alive when last seen
death_frame     int32?  frame    first frame at or over the threshold
death_time      float?  frame    when the threshold was crossed, interpolated; null: at_start
death_s         float?  s        the same
kill_class      text    -        none, single, multi, after_contact, spontaneous or at_start
killer_track_ids ids    -        effectors in contact at death
n_killers       int32   -        number of effectors in contact at death, those without track too
contact_frames  int32   frame    frames in contact with any effector
first_contact_frame int32? frame first contact with any effector, up to death
first_contact_s float?  s        the same
contact_start_s float?  s        start of the killer's unbroken contact that led to death
delay_s         float?  s        from the first contact to death
""",
    "killers": """
position        text    -        position
effector_track_id int64 -        track of the effector
first_frame     int32   frame    first frame in which it was found
last_frame      int32   frame    last frame in which it was found
frames          int32   frame    number of frames in which it was found
observed_s      float?  s        length of its track
n_targets_contacted int32 -      target tracks that it touched
contact_frames  int32   frame    frames in contact with any target
kills           int32   -        targets that died in contact with it
kill_credit     float   -        the same, a target with n killers counted as 1/n
first_kill_s    float?  s        time of its first kill
kills_per_hour  float?  1/h      kills / length of its track
killing_capacity float? %        mean over the targets that it touched; see killing_capacity
""",
    "killing_capacity": """
position        text    -        position
effector_track_id int64 -        track of the effector
target_track_id int64   -        track of the target
start_frame     int32   frame    first contact of the two
contact_frames  int32   frame    frames in contact
window_frames   int32   frame    from the first contact to the end of the window or track
cdi_start       float?  -        smoothed CDI of the target at first contact
cdi_end         float?  -        smoothed CDI of the target at the end of the window
delta_cdi       float?  -        difference
killing_capacity float? %        max(0, difference / start); 0 below the noise floor
killed          bool    -        the effector is a killer of the target
""",
    "survival": """
position        text    -        position
group           text    -        all; contacted (from the first contact), not contacted (until then)
time_frames     float   frame    time
time_s          float?  s        time
survival        float   -        probability to live beyond this time (Kaplan-Meier)
lower95         float   -        lower bound of the pointwise 95 % band (log-log)
upper95         float   -        upper bound
at_risk         int32   -        targets under observation just before this time
events          int32   -        deaths at this time
""",
    "killing_summary": """
position        text    -        position
targets         int32   -        target tracks
left_out_short  int32   -        left out: found in too few frames
left_out_large  int32   -        left out: the largest by mean area
untracked_cells int64   -        target cells without a track, left out
analysed        int32   -        target tracks analysed
dead_at_start   int32   -        of these: dead when first seen
deaths          int32   -        of these: died under observation
killed_single   int32   -        of the deaths: one effector in contact
killed_multi    int32   -        of the deaths: several effectors in contact
died_after_contact int32 -       of the deaths: contact before, none at death
died_spontaneous int32  -        of the deaths: no contact
censored        int32   -        alive when last seen
effectors       int32   -        effector tracks
effectors_that_killed int32 -    of these: killed at least one target
median_survival_s float? s       time at which the survival of all targets falls to 0.5
logrank_p       float?  -        contacted against not contacted (Mantel-Byar)
live_low        float?  counts   live signal that became 0
live_high       float?  counts   live signal that became 1
death_low       float?  counts   death signal that became 0
death_high      float?  counts   death signal that became 1
""",
    "death_thresholds": """
position        text    -        position
death_threshold float   -        smoothed CDI at which a target counts as dead
analysed        int32   -        target tracks analysed
dead_at_start   int32   -        of these: dead when first seen
deaths          int32   -        of these: died under observation
killed_single   int32   -        of the deaths: one effector in contact
killed_multi    int32   -        of the deaths: several effectors in contact
died_after_contact int32 -       of the deaths: contact before, none at death
died_spontaneous int32  -        of the deaths: no contact
mean_death_s    float?  s        mean time of death
""",
    "traces": """
position        text    -        position
fov             int32   -        number at the end of the position's name
cell            int64   -        track of the cell
frame           int32   frame    time index, from 0
label           uint32  -        number of the cell in its label image
time_h          float?  h        time
good            bool    -        false: flagged by the user, left out of merging and fitting
position_x      float   px       middle of the bounding box
position_y      float   px       middle of the bounding box
bbox_x0         int32   px       bounding box, first column
bbox_y0         int32   px       bounding box, first row
bbox_x1         int32   px       bounding box, last column (included)
bbox_y1         int32   px       bounding box, last row (included)
""",
    "samples": """
sample          text    -        sample, by samples.yaml; the position's name without one
position        text    -        position
fov             int32   -        number at the end of the position's name
cell            int64   -        track of the cell
frame           int32   frame    time index, from 0
time_h          float?  h        time
good            bool    -        always true: others are left out
""",
    "fits": """
sample          text    -        sample
trace           text    -        column of the traces that was fitted
position        text    -        position
fov             int32   -        number at the end of the position's name
cell            int64   -        track of the cell
model_type      text    -        model
success         bool    -        whether there was a fit
r_squared       float   -        share of the variance explained, from 0 to 1
quality         text    -        good (above 0.9), fair (above 0.7), poor
points          int32   -        points that were fitted
aic             float?  -        Akaike's information criterion: the lower, the better the model
""",
    "trace_statistics": """
sample          text    -        sample
trace           text    -        column of the traces
position        text    -        position
fov             int32   -        number at the end of the position's name
cell            int64   -        track of the cell
auc             float?  -        area under the curve (trapezoids) [value x h]
onset_time_h    float?  h        onset of the rise: offset + slope x max(t - onset, 0)
onset_slope     float?  -        slope after it [value / h]
onset_offset    float?  -        level before it
event           bool    -        whether there is a change (CUSUM)
event_time_h    float?  h        time of the greatest change
event_score     float?  -        its CUSUM, in standard deviations
""",
    "trace_filters": """
position        text    -        position
order           int32   -        from 0
step            text    -        filter
cells           int64   -        cells that are left after it
rows            int64   -        rows that are left
""",
    "evaluation": """
position        text    -        position
channel         text    -        label image that was scored
frame           int32?  frame    time index, from 0; null: all frames together
metric          text    -        what was scored; see docs/evaluation.md
threshold       float?  -        IoU from which objects match, or frames of tolerance; null: none
value           float?  -        the score or count; null: not defined here
package         text    -        who defines it; empty: a plain count
""",
}

KEYS = {
    "frames": ("position", "channel", "frame"),
    "transforms": ("position", "channel", "frame"),
    "cell_state": ("position", "frame", "label"),
    "deaths": ("position", "target_track_id"),
    "killers": ("position", "effector_track_id"),
    "killing_capacity": ("position", "effector_track_id", "target_track_id"),
    "survival": ("position", "group", "time_frames"),
    "killing_summary": ("position",),
    "death_thresholds": ("position", "death_threshold"),
    "detections": ("position", "frame", "label"),
    "traces": ("position", "cell", "frame"),
    "samples": ("sample", "position", "cell", "frame"),
    "fits": ("sample", "trace", "position", "cell"),
    "trace_statistics": ("sample", "trace", "position", "cell"),
    "trace_filters": ("position", "order"),
    "evaluation": ("position", "channel", "metric", "threshold", "frame"),
    "cells": ("position", "frame", "label", "channel"),
    "tracks": ("position", "frame", "label", "channel"),
    "edges": ("position", "frame", "label", "next_frame", "next_label"),
    "solver": ("position", "window"),
    "contacts": ("position", "frame", "effector_label", "target_label"),
    "track_summary": ("position", "label_channel", "track_id"),
    "bleaching": ("position", "frame"),
    "msd": ("position", "label_channel", "track_id", "lag_frames"),
    "drift": ("position", "frame"),
    "contact_events": ("position", "effector_track_id", "target_track_id", "event"),
}

# pyCyto's column names, for `column:` in a pipeline YAML.
PYCYTO_COLUMNS = {
    "size": "area",
    "mass": "intensity_sum",
    "mean": "intensity_mean",
    "median": "intensity_median",
    "sd": "intensity_std",
    "min": "intensity_min",
    "max": "intensity_max",
    "feret_diameter": "feret_diameter_max",
    "feret_radius": "feret_radius_um",
    "i": "y",
    "j": "x",
    "TrackID": "track_id",
    "speed": "speed_um_per_s",
}


def _parse(declared: str) -> pa.Schema:
    fields = []
    for line in filter(None, declared.splitlines()):
        name, type_, unit, meaning = line.split(maxsplit=3)
        nullable = type_.endswith("?")
        fields.append(
            pa.field(
                name,
                _TYPES[type_.rstrip("?")],
                nullable=nullable,
                metadata={"unit": "" if unit == "-" else unit, "description": meaning},
            )
        )
    return pa.schema(fields)


SCHEMAS: dict[str, pa.Schema] = {kind: _parse(text) for kind, text in _DECLARED.items()}
