package main

import (
	"maps"
	"testing"
)

func TestIperf(t *testing.T) {
	v, err := iperf(`{"start":{},"end":{"sum_sent":{"bits_per_second":9e9,"retransmits":17},"sum_received":{"bits_per_second":8e9}}}`)
	if err != nil || !maps.Equal(v, values{"rate": 1e9, "retransmits": 17}) {
		t.Errorf("%v, %v", v, err)
	}
	for _, bad := range []string{"", "{}", `{"error":"unable to connect","end":{}}`, "[1"} {
		if v, err := iperf(bad); err == nil {
			t.Errorf("%q: %v", bad, v)
		}
	}
}

func TestWrk(t *testing.T) {
	const good = `Running 2s test @ http://198.51.100.1:80/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.32ms    1.40ms  17.93ms   78.99%
    Req/Sec    12.51k     1.20k   14.28k    65.00%
  Latency Distribution
     50%    3.12ms
     75%    3.89ms
     90%    4.92ms
     99%    8.25ms
  24912 requests in 2.00s, 4.04MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
Requests/sec:  12445.13
Transfer/sec:      2.02MB
`
	v, err := wrk(good)
	if err != nil || !maps.Equal(v, values{"rate": 12445.13, "p99": 8250, "failed": 10}) {
		t.Errorf("%v, %v", v, err)
	}
	for _, bad := range []string{"", "Requests/sec: 5\n", good + "  Non-2xx or 3xx responses: 3\n"} {
		if v, err := wrk(bad); err == nil {
			t.Errorf("%q: %v", bad, v)
		}
	}
	v, err = wrk("99%  912.00us\nRequests/sec:  1.5\n")
	if err != nil || v["p99"] != 912 || v["failed"] != 0 {
		t.Errorf("microseconds: %v, %v", v, err)
	}
}
