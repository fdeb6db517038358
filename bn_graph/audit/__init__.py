"""Is my batch norm right? Finds what is wrong with the batch-norm layers of a TensorFlow 1 graph or checkpoint."""

from bn_graph.audit.audit import AuditReport, Finding, Undecided, audit_graph

__all__ = ["AuditReport", "Finding", "Undecided", "audit_graph"]
