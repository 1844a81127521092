package metrics

import (
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dirigo-lb/dirigo/arp"
	"github.com/dirigo-lb/dirigo/dataplane"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// The figures of which there is a bounded number.
var (
	buildInfo  = desc("dirigo_build_info", "The running version; always 1.", "version", "go_version")
	uptime     = desc("dirigo_uptime_seconds", "Time since the director started.")
	workers    = desc("dirigo_workers", "Threads that forward.")
	entries    = desc("dirigo_connections", "Entries of the connection table, templates of persistence included.")
	maxEntries = desc("dirigo_max_connections", "Bound on the entries of the connection table.")
	evicted    = desc("dirigo_evicted_half_open_total", "Half-open connections that ended early to make room for new ones, as the table was full.")
	frames     = desc("dirigo_frames_total", "Received frames by the reason they ended with.", "reason")
	neighbors  = desc("dirigo_neighbor_events_total", "What the neighbour cache made of ARP and neighbour discovery.", "event")
	apiRefused = desc("dirigo_api_refused_total", "Requests to the control API from the network without the right to make them.")

	reloadOK      = desc("dirigo_config_last_reload_successful", "Whether the last reload was taken over; if not, the state before it runs on.")
	reloadTime    = desc("dirigo_config_last_reload_timestamp_seconds", "When the file was last read, at start or for a reload.")
	reloadSuccess = desc("dirigo_config_last_reload_success_timestamp_seconds", "When the file was last taken over.")
	reloadError   = desc("dirigo_config_last_reload_error", "Why the last reload was refused, its first line; always 1, and there only after a refusal.", "error")

	portUp      = desc("dirigo_port_up", "Whether the port's link is up.", "port")
	portRx      = desc("dirigo_port_received_frames_total", "Frames taken from the port's receive rings.", "port")
	portTx      = desc("dirigo_port_sent_frames_total", "Frames that the port took for transmission.", "port")
	portLost    = desc("dirigo_port_lost_frames_total", "Frames that the port did not take for transmission: its queue was full, the kernel refused them, or the link was down.", "port", "reason")
	ringBatches = desc("dirigo_port_ring_batches_total", "Batches in which a worker has taken frames from its receive ring.", "port", "worker")
	ringPeak    = desc("dirigo_port_ring_peak_ratio", "The most that a receive ring was seen to be full of in the last two seconds.", "port", "worker")
	portDropped = desc("dirigo_port_ring_dropped_frames_total", "Frames for which a receive ring had no room; each worker has one of each port.", "port", "worker")

	workerFrames = desc("dirigo_worker_frames_total", "Frames that a worker has run to completion.", "worker")
	batchFrames  = desc("dirigo_worker_batch_frames", "Frames in a batch, which is what a worker takes from a port at a time.", "worker")
	batchSeconds = desc("dirigo_worker_batch_seconds", "Time from receipt of a batch to its transmission, taken of one batch in 64.", "worker")

	ipvsConnections = desc("node_ipvs_connections_total", "The total number of connections made.")
	ipvsInPackets   = desc("node_ipvs_incoming_packets_total", "The total number of incoming packets.")
	ipvsOutPackets  = desc("node_ipvs_outgoing_packets_total", "The total number of outgoing packets.")
	ipvsInBytes     = desc("node_ipvs_incoming_bytes_total", "The total amount of incoming data.")
	ipvsOutBytes    = desc("node_ipvs_outgoing_bytes_total", "The total amount of outgoing data.")
)

var descs = []*prometheus.Desc{
	buildInfo, uptime, workers, entries, maxEntries, evicted, frames, neighbors, apiRefused, reloadOK, reloadTime, reloadSuccess,
	reloadError, portUp, portRx, portTx, portLost, portDropped, ringBatches, ringPeak, workerFrames, batchFrames, batchSeconds,
	ipvsConnections, ipvsInPackets, ipvsOutPackets, ipvsInBytes, ipvsOutBytes,
}

// collector reads the figures of which there is a bounded number.
type collector struct{ source Source }

// Describe is of prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range slices.Concat(descs, healthDescs) {
		ch <- d
	}
}

// Collect is of prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	s, p := c.source.State(), c.source.Plane
	gauge(buildInfo, 1, s.Version, runtime.Version())
	gauge(uptime, s.Uptime.Seconds())
	gauge(workers, float64(s.WorkerCount))
	gauge(entries, float64(p.Conns().Len()))
	gauge(maxEntries, float64(p.Conns().Max()))
	count(evicted, p.Conns().Evicted())
	count(apiRefused, s.APIRefused)

	gauge(reloadOK, truth(s.ReloadErr == nil))
	gauge(reloadTime, float64(s.Reloaded.UnixMilli())/1000)
	gauge(reloadSuccess, float64(s.ReloadedOK.UnixMilli())/1000)
	if s.ReloadErr != nil {
		gauge(reloadError, 1, firstLine(s.ReloadErr.Error()))
	}
	for r, n := range p.Reasons() { // zero ones too: an alert needs the series before its first event
		count(frames, n, dataplane.Reason(r).String())
	}
	for r, n := range p.Neighbors().Counters() {
		count(neighbors, n, arp.Reason(r).String())
	}
	counters := p.Ports()
	for i, port := range s.Ports {
		gauge(portUp, truth(port.Up), port.Name)
		count(portRx, counters[i].RxFrames, port.Name)
		count(portTx, counters[i].TxFrames, port.Name)
		count(portLost, counters[i].TxFull, port.Name, "full")
		count(portLost, counters[i].TxRefused, port.Name, "refused")
		count(portLost, counters[i].TxDown(), port.Name, "down")
	}
	for i, w := range p.WorkerStatuses() {
		id := strconv.Itoa(i)
		count(workerFrames, w.Frames, id)
		for j, port := range s.Ports {
			if j < len(w.Rings) {
				r := &w.Rings[j]
				count(portDropped, r.Dropped, port.Name, id)
				count(ringBatches, r.Batches, port.Name, id)
				gauge(ringPeak, float64(r.Peak)/100, port.Name, id)
			}
		}
		ch <- batchSizes(&w.Load, id)
		ch <- batchTimes(&w.Load, id)
	}
	total := p.Total()
	count(ipvsConnections, total.Conns)
	count(ipvsInPackets, total.InPkts)
	count(ipvsOutPackets, total.OutPkts)
	count(ipvsInBytes, total.InBytes)
	count(ipvsOutBytes, total.OutBytes)
	collectHealth(ch, c.source.Health, &s.Notified)
}

func batchSizes(l *dataplane.Load, id string) prometheus.Metric {
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range dataplane.LoadSizes {
		sum += l.Sizes[i]
		buckets[float64(bound)] = sum
	}
	return prometheus.MustNewConstHistogram(batchFrames, sum, float64(l.Frames), buckets, id)
}

func batchTimes(l *dataplane.Load, id string) prometheus.Metric {
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range dataplane.LoadTimes {
		sum += l.Times[i]
		buckets[bound.Seconds()] = sum
	}
	return prometheus.MustNewConstHistogram(batchSeconds, l.Timed(), l.Took.Seconds(), buckets, id)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// firstLine is what of an error fits a label.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.ToValidUTF8(s, "?"), "\n")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}
