package main

import "fmt"

// A target is what the director has to reach: a bound of a figure, or of its ratio to a
// reference's in the same round.
type target struct {
	what      string
	measure   string
	row       string
	of        figure
	reference string // "": the figure itself
	bound     float64
	atMost    bool
}

// targets are the project's own, made for two CPUs. bare is the bare forwarder that
// receives as the director does by default; blocks are an option for rate alone.
func targets() (list []target) {
	const bare = "bare-ring"
	rate := value("rate", 1)
	for _, m := range []struct{ measure, flows string }{{"pps1k", "1,000"}, {"pps100k", "100,000"}} {
		what := "packets/s, " + m.flows + " flows, "
		list = append(list,
			target{what + "NAT", m.measure, "dirigo-nat", rate, "nft", 1.4, false},
			target{what + "NAT", m.measure, "dirigo-nat", rate, "nft-rps", 1.3, false},
			target{what + "NAT", m.measure, "dirigo-nat", rate, bare, 0.9, false},
			target{what + "NAT by blocks", m.measure, "dirigo-nat-blocks", rate, "nft", 1.4, false},
			target{what + "NAT by blocks", m.measure, "dirigo-nat-blocks", rate, "nft-rps", 1.3, false},
			target{what + "NAT by blocks", m.measure, "dirigo-nat-blocks", rate, "bare-blocks", 0.9, false},
			target{what + "DR", m.measure, "dirigo-dr", rate, "dirigo-nat", 1, false},
			target{what + "IPIP", m.measure, "dirigo-tun", rate, "dirigo-nat", 1, false})
	}
	for _, l := range []struct {
		name, row string
		p50       float64
	}{{"latency low", "dirigo-nat-low", 1.7}, {"default", "dirigo-nat", 2.7}} {
		list = append(list, target{"round trip of a lone packet, " + l.name + ", p50", "trip", l.row, value("p50", 1), "kernel", l.p50, true})
	}
	return append(list,
		target{"round trip of a lone packet, default, p99", "trip", "dirigo-nat", value("p99", 1), "kernel", 5, true},
		target{"bulk TCP, 1 stream, NAT", "bulk1", "dirigo-nat", rate, "nft", 1, false},
		target{"bulk TCP, 1 stream, NAT", "bulk1", "dirigo-nat", rate, "haproxy", 1.5, false},
		target{"bulk TCP, 8 streams, NAT", "bulk8", "dirigo-nat", rate, "nft", 0.9, false},
		target{"bulk TCP, 8 streams, NAT", "bulk8", "dirigo-nat", rate, "haproxy", 1.5, false},
		target{"new connections/s, NAT", "conns", "dirigo-nat", rate, "nft", 1.5, false},
		target{"new connections/s, NAT", "conns", "dirigo-nat", rate, "nft-rps", 0.85, false},
		target{"new connections/s, NAT", "conns", "dirigo-nat", rate, "haproxy", 1, false},
		target{"new connections/s, NAT", "conns", "dirigo-nat", rate, "nginx", 1, false},
		target{"SYN flood: requests lost by established users", "flood", "dirigo-nat", value("failed", 1), "", 0, true},
		target{"SYN flood: memory after / before", "flood", "dirigo-nat", per("rss_after", "rss_before", 1), "", 1.1, true},
		target{"SYN flood: questions that the control socket did not answer", "flood", "dirigo-nat", value("control_failed", 1), "", 0, true},
	)
}

// bounds says what the target asks.
func (t *target) bounds() string {
	sign := "≥"
	if t.atMost {
		sign = "≤"
	}
	if t.reference == "" {
		return fmt.Sprintf("%s %.4g", sign, t.bound)
	}
	return fmt.Sprintf("%s %.4g × %s", sign, t.bound, t.reference)
}

// measured is what the rounds gave.
func (t *target) measured(r *results) summary {
	if t.reference == "" {
		return r.summary(t.row, t.measure, t.of)
	}
	return r.ratio(t.row, t.reference, t.measure, t.of)
}

// verdict says whether the median reaches the bound, and if not whether a round did.
func (t *target) verdict(s summary) string {
	best := s.max
	if t.atMost {
		best = s.min
	}
	switch {
	case s.n == 0:
		return "not measured"
	case t.reached(s.median):
		return "yes"
	case t.reached(best):
		return "no, but in the best round"
	}
	return "no"
}

func (t *target) reached(v float64) bool {
	if t.atMost {
		return v <= t.bound
	}
	return v >= t.bound
}
