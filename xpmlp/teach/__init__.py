"""Check my backpropagation: somebody's own functions, the first place that differs, and why."""

from xpmlp.teach.check import check as check
from xpmlp.teach.findings import Finding as Finding
from xpmlp.teach.report import Report as Report
from xpmlp.teach.slips import SLIPS as SLIPS, Slip as Slip
