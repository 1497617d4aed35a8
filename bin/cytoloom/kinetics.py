"""Kinetic models of fluorescence after transfection or induction.

Each model has free parameters (start, least, greatest) and fixed ones; times are in hours.
Models are functions of arrays: ``times (n,)`` and parameters ``(cells, 1)`` give
``(cells, n)``. Sums of exponentials are written as divided differences of exp(-r t), so that
equal rates, where the usual formulas divide zero by zero, are nothing special.

References
----------
PyAMA's models; Leonhardt, C. et al. (2014). Single-cell mRNA transfection studies. Nanomedicine
10, 679-688.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

Floats = NDArray[np.float64]
CLOSE = 1e-4  # rates x time apart: below, the second difference is taken from its series


@dataclass(frozen=True)
class Parameter:
    """A free parameter: where its fit starts, and its bounds."""

    start: float
    low: float
    high: float


@dataclass(frozen=True)
class Model:
    """A model: its function, its free and its fixed parameters.

    Attributes
    ----------
    linear
        Free parameters that multiply the curve or are added to it: their start is solved for.
    ordered
        Pairs of free parameters that may change places without a change of the curve: the first
        is made the greater one.
    """

    name: str
    function: Callable[..., Any]
    free: Mapping[str, Parameter]
    fixed: Mapping[str, float] = field(default_factory=dict)
    linear: tuple[str, ...] = ()
    ordered: tuple[tuple[str, str], ...] = ()

    def curve(self, times: Floats, values: Floats) -> Floats:
        """Return the curves of parameters ``values`` (cells, free) at times (n,): (cells, n)."""
        given = dict(zip(self.free, values.T[:, :, np.newaxis], strict=True))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            result = self.function(times[np.newaxis], **given, **self.fixed)
        return np.broadcast_to(np.asarray(result, np.float64), (len(values), times.size))

    def changed(
        self,
        fixed: Mapping[str, float],
        starts: Mapping[str, float],
        bounds: Mapping[str, tuple[float, float]],
    ) -> Model:
        """Return the model with other fixed values, starts and bounds.

        Raises
        ------
        BadData
            If there is no such parameter, or a start lies outside its bounds.
        """
        known = {**self.free, **self.fixed}
        for name in (*fixed, *starts, *bounds):
            if name not in known:
                valid = ", ".join(known)
                raise BadData(f"model {self.name}: no parameter {name!r} (parameters: {valid})")
        free, held = dict(self.free), {**self.fixed, **fixed}
        for name in fixed:
            free.pop(name, None)
        for name in {*starts, *bounds} - set(fixed):
            before = free.get(name) or Parameter(held[name], held[name], held[name])
            low, high = bounds.get(name, (before.low, before.high))
            if not low < high:
                raise BadData(f"model {self.name}: {name} is fixed: give its bounds, least first")
            start = starts.get(name, float(np.clip(before.start, low, high)))
            if not low <= start <= high:
                raise BadData(f"model {self.name}: {name} starts outside {low:g} ... {high:g}")
            free[name] = Parameter(start, low, high)
            held.pop(name, None)
        if not free:
            raise BadData(f"model {self.name}: no parameter is left to fit")
        kept = tuple(pair for pair in self.ordered if set(pair) <= set(free))
        linear = tuple(name for name in self.linear if name in free)
        return replace(self, free=free, fixed=held, linear=linear, ordered=kept)


def first_difference(time: Floats, a: Any, b: Any) -> Floats:
    """Return (exp(-a t) - exp(-b t)) / (b - a), also where a = b: t exp(-a t)."""
    low, apart = np.minimum(a, b), np.abs(np.subtract(b, a)) * time
    safe = np.where(apart == 0, 1.0, apart)
    share = np.where(apart == 0, 1.0, -np.expm1(-safe) / safe)
    result: Floats = time * share * np.exp(-low * time)
    return result


def second_difference(time: Floats, a: Any, b: Any, c: Any) -> Floats:
    """Return the second divided difference of exp(-r t) over the rates a, b, c.

    That is exp(-a t)/((a-b)(a-c)) + exp(-b t)/((b-a)(b-c)) + exp(-c t)/((c-a)(c-b)), and
    t^2/2 exp(-a t) where all are equal.
    """
    low, middle, high = np.sort(np.stack(np.broadcast_arrays(a, b, c)), axis=0)
    apart = high - low
    far = apart * time > CLOSE
    difference = first_difference(time, low, middle) - first_difference(time, middle, high)
    outer = difference / np.where(far, apart, 1.0)
    mean = (low + middle + high) / 3
    near = time**2 / 2 * np.exp(-mean * time)
    result: Floats = np.where(far, outer, near)
    return result


def maturation(
    t: Floats, t0: Any, ktl: Any, delta: Any, offset: Any, km: Any, beta: Any, scale: Any
) -> Floats:
    """Translation of decaying mRNA (delta), maturation (km) and decay (beta) of the protein."""
    dt = np.maximum(t - t0, 0)
    made = ktl * km * second_difference(dt, beta + km, beta, delta)
    result: Floats = scale * (offset + np.where(dt > 0, made, 0))
    return result


def trivial(t: Floats, t0: Any, ktl: Any, delta: Any, beta: Any) -> Floats:
    """Translation of decaying mRNA (delta) and decay of the protein (beta)."""
    dt = np.maximum(t - t0, 0)
    result: Floats = ktl * first_difference(dt, beta, delta)
    return result


def maturation_blocked(t: Floats, G0: Any, Gu0: Any, km: Any, beta: Any) -> Floats:  # noqa: N803
    """Decay of mature and maturation of immature protein, translation blocked."""
    result: Floats = G0 * np.exp(-beta * t) + Gu0 * km * first_difference(t, beta, beta + km)
    return result


def twostage(t: Floats, k_tl: Any, k_m: Any, beta: Any, offset: Any) -> Floats:
    """Rise to a level and decay of it."""
    result: Floats = k_tl * -np.expm1(-k_m * t) * np.exp(-beta * t) + offset
    return result


def exponential_decay(t: Floats, amplitude: Any, rate: Any, offset: Any) -> Floats:
    """Decay to a level."""
    result: Floats = amplitude * np.exp(-rate * t) + offset
    return result


MODELS = {
    model.name: model
    for model in (
        Model(
            "maturation", maturation,
            {
                "t0": Parameter(0, -1, 1), "ktl": Parameter(1e3, 1, 5e8),
                "delta": Parameter(1e-2, 1e-5, 11), "offset": Parameter(0, -1e6, 1e6),
            },
            {"km": 1.28, "beta": 5.22e-3, "scale": 1.0}, ("ktl", "offset"),
        ),
        Model(
            "trivial", trivial,
            {
                "t0": Parameter(0, 0, 30), "ktl": Parameter(1e3, 1, 5e4),
                "delta": Parameter(0.07, 1e-5, 10.1),
                "beta": Parameter(0.0436275356035, 1e-5, 10),
            },
            {}, ("ktl",), (("delta", "beta"),),
        ),
        Model(
            "maturation_blocked", maturation_blocked,
            {
                "G0": Parameter(1e3, 0, 1e9), "Gu0": Parameter(1e3, 0, 1e9),
                "km": Parameter(1.28, 1e-5, 1e2), "beta": Parameter(5.22e-3, 1e-5, 10),
            },
            {}, ("G0", "Gu0"),
        ),
        Model(
            "twostage", twostage,
            {
                "k_tl": Parameter(1e3, 0, 1e9), "k_m": Parameter(1.28, 1e-5, 1e2),
                "beta": Parameter(5.22e-3, 1e-6, 10), "offset": Parameter(0, -1e6, 1e6),
            },
            {}, ("k_tl", "offset"),
        ),
        Model(
            "exponential_decay", exponential_decay,
            {
                "amplitude": Parameter(1e3, 0, 1e9), "rate": Parameter(0.1, 1e-5, 1e2),
                "offset": Parameter(0, -1e6, 1e6),
            },
            {}, ("amplitude", "offset"),
        ),
    )
}  # fmt: skip


def find_model(name: str, own: Mapping[str, Model]) -> Model:
    """Return a model by name, upper and lower case alike; the user's own come first.

    Raises
    ------
    BadData
        If there is none.
    """
    known = {**{key.casefold(): m for key, m in MODELS.items()}}
    known |= {key.casefold(): m for key, m in own.items()}
    if name.casefold() not in known:
        valid = ", ".join([*own, *MODELS])
        raise BadData(f"Unknown model {name!r} (models: {valid})")
    return known[name.casefold()]
