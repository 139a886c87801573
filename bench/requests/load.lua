-- The requests of wrk: one per token in a file, taken in turn, all made before the first is sent.
--
--   wrk ... -s load.lua URL -- BODY_FILE TOKENS_FILE

local requests = {}
local at = 0

local function read(name)
    local file = assert(io.open(name, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

function init(arguments)
    local body = read(arguments[1])
    for token in read(arguments[2]):gmatch("%S+") do
        requests[#requests + 1] = wrk.format("POST", nil, {
            ["Host"] = wrk.host .. ":" .. wrk.port,
            ["content-type"] = "application/json",
            ["authorization"] = "Bearer " .. token,
            ["user-agent"] = "wrk",
        }, body)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "micros": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, "not_2xx": %d, "broken": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
