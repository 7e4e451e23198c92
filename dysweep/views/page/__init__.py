"""The parts of the report, one for each thing that it draws."""

from dysweep.errors import ConfigError

try:
    import plotly  # noqa: F401
except ImportError:
    raise ConfigError('--html: it needs plotly: pip install "dysweep[report]"') from None
