package main

// A table shows one measure: its main figure with the spread over the rounds, that figure
// relative to references, and what goes with it.
type table struct {
	title   string
	note    string
	measure string
	heading string // of the main figure
	of      figure
	less    bool // less is better
	refs    []string
	extra   []column
	axis    string // the plot's; "": no plot
}

// column is the median of another figure.
type column struct {
	heading string
	of      figure
}

// tables are the results in their order.
func tables() []table {
	packets := []column{
		{"most that came through, kpps", value("max", 1e-3)},
		{"forwarder µs/packet", value("cpu_us", 1)},
		{"machine µs/packet", value("machine_us", 1)},
		{"kpps per busy CPU", inverse("machine_us", 1e3)},
	}
	tcp := func(unit string, scale float64) []column {
		return []column{
			{"forwarder CPUs", value("cpus", 1)},
			{"busy CPUs", value("machine", 1)},
			{unit + " per busy CPU", per("rate", "machine", scale)},
		}
	}
	trips := func(prefix string) []column {
		return []column{
			{"p99 µs", value(prefix+"p99", 1)},
			{"p99.9 µs", value(prefix+"p999", 1)},
			{"lost", value(prefix+"lost", 1)},
		}
	}
	kernels := []string{"kernel", "kernel-rps", "nft", "nft-rps"}
	return []table{
		{title: "Packets a second, 1,000 flows", measure: "pps1k", heading: "kpps at < 0.1 % loss", of: value("rate", 1e-3), axis: "kpps",
			note: "64-byte UDP, one way. Where the most that came through is the rate itself, the generator was the limit.",
			refs: append(kernels, "bare-ring"), extra: packets},
		{title: "Packets a second, 100,000 flows", measure: "pps100k", heading: "kpps at < 0.1 % loss", of: value("rate", 1e-3), axis: "kpps",
			refs: append(kernels, "bare-ring"), extra: packets},
		{title: "Round trip of a lone packet", measure: "trip", heading: "p50 µs", of: value("p50", 1), less: true, axis: "µs",
			note: "A datagram, echoed; the next one when it is back. Idle: the next one a millisecond later, when every CPU on the way sleeps and, in a virtual machine, the host has to wake it.",
			refs: kernels[:2], extra: append(trips(""), column{"idle p50 µs", value("idle_p50", 1)}, column{"idle p99 µs", value("idle_p99", 1)})},
		{title: "Round trip beside half of the rate above", measure: "pps1k", heading: "p50 µs", of: value("load_p50", 1), less: true, axis: "µs",
			note: "Each forwarder beside half of its own loss-free rate of 1,000 flows.",
			refs: kernels[:2], extra: append(trips("load_"), column{"load, kpps", value("load", 1e-3)})},
		{title: "Round trip on a TCP connection", measure: "triptcp", heading: "p50 µs", of: value("p50", 1), less: true, axis: "µs",
			refs: []string{"kernel", "nft", "haproxy", "nginx"}, extra: append(trips(""), column{"idle p50 µs", value("idle_p50", 1)})},
		{title: "Bulk TCP, 1 stream", measure: "bulk1", heading: "GB/s", of: value("rate", 1e-9), axis: "GB/s",
			note: "iperf3 with all offloads; payload that arrived.",
			refs: []string{"nft", "nft-rps", "haproxy", "nginx"}, extra: append(tcp("GB/s", 1e-9), column{"retransmits", value("retransmits", 1)})},
		{title: "Bulk TCP, 8 streams", measure: "bulk8", heading: "GB/s", of: value("rate", 1e-9), axis: "GB/s",
			refs: []string{"nft", "nft-rps", "haproxy", "nginx"}, extra: append(tcp("GB/s", 1e-9), column{"retransmits", value("retransmits", 1)})},
		{title: "New TCP connections a second", measure: "conns", heading: "connections/s", of: value("rate", 1), axis: "connections/s",
			note: "wrk, 64 at a time, one request each (Connection: close), against nginx.",
			refs: []string{"nft", "nft-rps", "haproxy", "nginx"},
			extra: append(append([]column{{"p99 ms", value("p99", 1e-3)}, {"failed", value("failed", 1)}}, tcp("connections/s", 1)...),
				column{"forwarder µs/connection", per("cpus", "rate", 1e6)})},
	}
}

// inverse is scale over a figure.
func inverse(name string, scale float64) figure {
	return func(v values) (float64, bool) {
		x := v[name]
		if x <= 0 {
			return 0, false
		}
		return scale / x, true
	}
}
