from proa.engine.facade import Engine as Engine
from proa.engine.facade import Result as Result

__version__: str
