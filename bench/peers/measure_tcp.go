package main

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// bulk moves as many bytes as it can over so many TCP connections, by iperf3.
func bulk(streams int) func(*session) values {
	return func(s *session) values {
		s.server.Start("iperf3", "-s", "-p", strconv.Itoa(portIperf))
		s.awaitTCP(portIperf)
		// iperf3 serves one client at a time and takes the first connection for one.
		time.Sleep(100 * time.Millisecond)
		before := s.usage()
		out := s.client.Must("iperf3", "-c", s.target.String(), "-p", strconv.Itoa(portIperf), "-P", strconv.Itoa(streams),
			"-t", strconv.Itoa(int(math.Ceil(s.times.bulk.Seconds()))), "-J", "--connect-timeout", "5000")
		process, machine, stolen := s.usage().since(before)
		v, err := iperf(out)
		if err != nil {
			s.tb.Fatal(err)
		}
		v["cpus"], v["machine"], v["stolen"] = process, machine, stolen
		return v
	}
}

// iperf reads iperf3's JSON: bytes per second that arrived, and segments sent again.
func iperf(out string) (values, error) {
	var r struct {
		Error string
		End   struct {
			Sent struct {
				Retransmits float64
			} `json:"sum_sent"`
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return nil, fmt.Errorf("iperf3: %w: %.200s", err, out)
	}
	if r.Error != "" || r.End.Received.BitsPerSecond == 0 {
		return nil, fmt.Errorf("iperf3: nothing arrived: %s", r.Error)
	}
	return values{"rate": r.End.Received.BitsPerSecond / 8, "retransmits": r.End.Sent.Retransmits}, nil
}

// connections opens as many TCP connections as it can, for one request each, by wrk
// against nginx.
func connections(s *session) values {
	s.webServer()
	s.awaitTCP(portHTTP)
	before := s.usage()
	out := s.client.Must("wrk", "-t1", "-c64", fmt.Sprintf("-d%ds", int(math.Ceil(s.times.conns.Seconds()))),
		"-H", "Connection: close", "--latency", "http://"+s.address(portHTTP)+"/")
	process, machine, stolen := s.usage().since(before)
	v, err := wrk(out)
	if err != nil {
		s.tb.Fatal(err)
	}
	v["cpus"], v["machine"], v["stolen"] = process, machine, stolen
	return v
}

var (
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkP99    = regexp.MustCompile(`(?m)^\s*99%\s+(\S+)`) // not a share that ends so
	wrkErrors = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// wrk reads what wrk prints: requests a second, p99 of their latency in microseconds,
// and failures of any kind.
func wrk(out string) (values, error) {
	rate, p99 := wrkRate.FindStringSubmatch(out), wrkP99.FindStringSubmatch(out)
	if rate == nil || p99 == nil {
		return nil, fmt.Errorf("wrk: no rate or no latency: %s", out)
	}
	v := values{"failed": 0}
	var err error
	if v["rate"], err = strconv.ParseFloat(rate[1], 64); err != nil {
		return nil, fmt.Errorf("wrk: %w", err)
	}
	d, err := time.ParseDuration(p99[1])
	if err != nil {
		return nil, fmt.Errorf("wrk: %w", err)
	}
	v["p99"] = float64(d.Nanoseconds()) / 1e3
	if m := wrkErrors.FindStringSubmatch(out); m != nil {
		for _, n := range m[1:] {
			k, _ := strconv.Atoi(n) // digits, by the pattern
			v["failed"] += float64(k)
		}
	}
	if strings.Contains(out, "Non-2xx") {
		return nil, fmt.Errorf("wrk: the server refuses: %s", out)
	}
	return v, nil
}
