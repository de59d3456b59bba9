"""A simulator whose boxes are exact."""

from .scene import KINDS, MovingObject, Scene
from .sensor import Sensor, simulate, simulate_video
from .shapes import LEVELS, VERSION, Clip, EventShapes, Level, make_dataset

__all__ = [
    "KINDS",
    "LEVELS",
    "VERSION",
    "Clip",
    "EventShapes",
    "Level",
    "MovingObject",
    "Scene",
    "Sensor",
    "make_dataset",
    "simulate",
    "simulate_video",
]
