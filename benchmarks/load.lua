-- wrk's requests: loans in rotation, each a whole HTTP request prepared before the clock starts.
local requests = {}
local turn = 0

function init(args)
    for line in io.lines(args[1]) do
        local headers = { ["Content-Type"] = "application/json" }
        requests[#requests + 1] = wrk.format("POST", args[2], headers, line)
    end
end

function request()
    turn = turn % #requests + 1
    return requests[turn]
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format('{"requests": %d, "microseconds": %d, "p50": %f, "p99": %f, "failed": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
