from auditkit.queue import active as active
from auditkit.queue import columns as columns
from auditkit.queue import dedup as dedup
from auditkit.queue import writer as writer
