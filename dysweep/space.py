"""For `from dysweep.space import Space`, where it was before."""

from dysweep.language.space import Space as Space
