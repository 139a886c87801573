-- Schema version 8: sums that charts read a few rows of, however many keys there are.
--
-- They say what usage_sums and denial_sums say, of every transaction: whoever writes there writes here too.

-- As usage_sums, of all keys of a project together. An empty project is that of a key that is not known.
CREATE TABLE project_sums (
    day INTEGER NOT NULL,
    project TEXT NOT NULL,
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
    PRIMARY KEY (day, project, provider, model, endpoint)
) STRICT, WITHOUT ROWID;

-- As usage_sums, of 8 days together.
CREATE TABLE span_sums (
    -- day / 8.
    span INTEGER NOT NULL,
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
    PRIMARY KEY (span, key, provider, model, endpoint)
) STRICT, WITHOUT ROWID;

-- The rows of both follow from those of usage_sums (`sqlite/sum_rows.rs`).

-- As denial_sums, of all keys of a project together. An empty project is that of what was counted under no key.
CREATE TABLE project_denials (
    day INTEGER NOT NULL,
    project TEXT NOT NULL,
    code TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day, project, code)
) STRICT, WITHOUT ROWID;

INSERT INTO project_denials
SELECT day, coalesce((SELECT project FROM keys WHERE keys.id = denial_sums.key), ''), code, sum(count)
FROM denial_sums GROUP BY 1, 2, 3;
