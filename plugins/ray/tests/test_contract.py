"""The engine passes the conformance kit, on one cluster for all checks but the last."""

from bnnlab_ray.contracts import *
