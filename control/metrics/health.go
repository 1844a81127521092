package metrics

import (
	"io"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// The figures of health of which there is a bounded number.
var (
	probes    = desc("dirigo_health_probes_total", "Answers of health checks by their type and what they were: ok, or why they were bad.", "type", "result")
	probeTime = desc("dirigo_health_probe_seconds", "Time until an answer was complete, or given up.", "type")
	lateness  = desc("dirigo_health_lateness_seconds", "Time from when a health check was due until it was asked.")
	lag       = desc("dirigo_health_lag_seconds", "How late the director itself was in hearing answers, at most in the last second.")
	stalls    = desc("dirigo_health_stalls_total", "Times the director itself stood still, so that bad answers were not counted.")
	discarded = desc("dirigo_health_discarded_total", "Answers that were not counted: the director could not ask, or was itself late.")
	untold    = desc("dirigo_health_untold_total", "Events that only the history has: too many waited to be told.")
	questions = desc("dirigo_health_targets", "Different questions that health checks ask; checks that ask the same share one.")
	asking    = desc("dirigo_health_running", "Health checks that are being asked.")
	waiting   = desc("dirigo_health_waiting", "Health checks that are due and wait for their turn: as many as may are being asked, or the director is busy.")
	told      = desc("dirigo_health_notifications_total", "Notifications of changes, once for each way, by what became of them: told, failed or dropped.", "result")

	healthDescs = []*prometheus.Desc{probes, probeTime, lateness, lag, stalls, discarded, untold, questions, asking, waiting, told}
)

// Notifications is how many there were.
type Notifications struct{ Told, Failed, Dropped uint64 }

// collectHealth reads the figures of health of which there is a bounded number.
func collectHealth(ch chan<- prometheus.Metric, m *health.Monitor, n *Notifications) {
	s := m.Stats()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	for a, n := range s.Probes {
		result := string(a.Why)
		if a.Why == health.WhyNone {
			result = "ok"
		}
		count(probes, n, string(a.Type), result)
	}
	for kind, h := range s.Latency {
		ch <- histogram(probeTime, &h, string(kind))
	}
	ch <- histogram(lateness, &s.Lateness)
	count(stalls, s.Stalls)
	count(discarded, s.Discarded)
	count(untold, s.Untold)
	gauge(lag, s.Lag.Seconds())
	gauge(questions, float64(s.Targets))
	gauge(asking, float64(s.Running))
	gauge(waiting, float64(s.Waiting))
	count(told, n.Told, "told")
	count(told, n.Failed, "failed")
	count(told, n.Dropped, "dropped")
}

func histogram(d *prometheus.Desc, h *health.Histogram, labels ...string) prometheus.Metric {
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, n := range h.Counts {
		if sum += n; i < len(health.Buckets) {
			buckets[health.Buckets[i].Seconds()] = sum
		}
	}
	return prometheus.MustNewConstHistogram(d, sum, h.Sum.Seconds(), buckets, labels...)
}

// judged is a service or a server with health checks: where its labels stand, and its
// figures.
type judged struct {
	labels         span
	up, sorry      bool
	unchecked      bool
	weight, change int
}

var judgedServers = []family[judged]{
	{"dirigo_health_up", gauge, "Whether a real server is up by its health checks.", func(j *judged) uint64 { return uint64(truth(j.up)) }},
	{"dirigo_health_unchecked", gauge, "Whether a real server that is up has had no answer yet, or the director could not ask it the last time.", func(j *judged) uint64 { return uint64(truth(j.unchecked)) }},
	{"dirigo_health_transitions_total", counter, "Changes of a real server between up and down.", func(j *judged) uint64 { return uint64(j.change) }},
}

var judgedServices = []family[judged]{
	{"dirigo_health_service_up", gauge, "Whether a virtual service has its quorum.", func(j *judged) uint64 { return uint64(truth(j.up)) }},
	{"dirigo_health_service_weight", gauge, "Weight of the real servers of a virtual service that are up, without slow start.", func(j *judged) uint64 { return uint64(j.weight) }},
	{"dirigo_health_sorry_active", gauge, "Whether the sorry server of a virtual service serves.", func(j *judged) uint64 { return uint64(truth(j.sorry)) }},
}

// writeHealth reads all services and servers with health checks and writes their figures.
func writeHealth(w io.Writer, m *health.Monitor) error {
	var s snapshot
	var services, servers []judged
	m.ServicesAll(func(k conf.ServiceKey, st health.ServiceState) bool {
		services = append(services, judged{labels: s.labelsOf(k, st.Name, nil, ""), up: st.Up, sorry: st.Sorry, weight: st.Weight})
		return true
	})
	m.All(func(e health.Explanation) bool {
		servers = append(servers, judged{labels: s.labelsOf(e.ID.Service, e.ServiceName, e.ID.Server, e.ServerName), up: e.Up, unchecked: e.State == "unchecked", change: e.Changes})
		return true
	})
	out := &textWriter{w: w, text: s.text}
	for i := range judgedServices {
		writeFamily(out, &judgedServices[i], services, func(j *judged) span { return j.labels })
	}
	for i := range judgedServers {
		writeFamily(out, &judgedServers[i], servers, func(j *judged) span { return j.labels })
	}
	return out.flush()
}
