-- Schema version 2: limits in tokens and money.
--
-- What a key allows, records of calls, and sums over them.

ALTER TABLE keys ADD COLUMN clamp INTEGER NOT NULL DEFAULT 1;
ALTER TABLE keys ADD COLUMN allow_unbounded INTEGER NOT NULL DEFAULT 0;

-- One row per call, in the order in which they ended. Deleted when they are old.
CREATE TABLE usage_records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 16),
    request_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    method TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT,
    status INTEGER,
    outcome TEXT NOT NULL,
    denial TEXT,
    -- Counts as amounts are: INTEGER, or BLOB above 2^63-1.
    input ANY NOT NULL,
    cache_read ANY NOT NULL,
    cache_write ANY NOT NULL,
    output ANY NOT NULL,
    reasoning ANY NOT NULL,
    audio_input ANY NOT NULL,
    audio_output ANY NOT NULL,
    image_input ANY NOT NULL,
    image_output ANY NOT NULL,
    tool_calls ANY NOT NULL,
    charged_activations ANY NOT NULL,
    charged_tokens ANY NOT NULL,
    charged_spend ANY NOT NULL,
    price_version TEXT,
    latency_ms INTEGER NOT NULL,
    first_byte_ms INTEGER,
    client TEXT,
    streamed INTEGER NOT NULL
) STRICT;

CREATE INDEX usage_records_by_key ON usage_records (key, seq);
CREATE INDEX usage_records_by_time ON usage_records (at);

-- Sums over calls that were admitted, per day (since 1970-01-01, UTC). They stay when records go.
CREATE TABLE usage_sums (
    day INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 16),
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    calls ANY NOT NULL,
    input ANY NOT NULL,
    cache_read ANY NOT NULL,
    cache_write ANY NOT NULL,
    output ANY NOT NULL,
    reasoning ANY NOT NULL,
    audio_input ANY NOT NULL,
    audio_output ANY NOT NULL,
    image_input ANY NOT NULL,
    image_output ANY NOT NULL,
    tool_calls ANY NOT NULL,
    charged_activations ANY NOT NULL,
    charged_tokens ANY NOT NULL,
    charged_spend ANY NOT NULL,
    PRIMARY KEY (day, key, provider, model, endpoint)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_sums_by_key ON usage_sums (key, day);
