from proa import errors as errors
from proa.engine.asynchronous import AsyncEngine as AsyncEngine
from proa.engine.config import ContainerConfig as ContainerConfig
from proa.engine.config import ExecConfig as ExecConfig
from proa.engine.config import HealthConfig as HealthConfig
from proa.engine.config import MountConfig as MountConfig
from proa.engine.config import Resources as Resources
from proa.engine.config import RestartPolicy as RestartPolicy
from proa.engine.containers.container import Container as Container
from proa.engine.facade import Engine as Engine
from proa.engine.facade import Result as Result

__version__: str
