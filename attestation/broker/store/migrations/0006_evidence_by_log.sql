-- Whether a log is still some boot's is asked whenever a boot is replaced.
CREATE INDEX boots_by_event_log ON boots (event_log) WHERE event_log IS NOT NULL;
