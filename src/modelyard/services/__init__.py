"""The servers that a pipeline needs on this machine: started together, watched, stopped.

``up`` returns when all are healthy. ``start`` returns when they are spawned, so that work that
needs none of them can begin, and ``wait([services["mlflow"]])`` comes before work that needs one.
"""

from modelyard.services.service import Service, ServiceEvent, ServiceStatus
from modelyard.services.supervisor import down, start, status, up
from modelyard.services.waiting import wait

__all__ = ["Service", "ServiceEvent", "ServiceStatus", "down", "start", "status", "up", "wait"]
