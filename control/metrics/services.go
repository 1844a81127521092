package metrics

import (
	"bytes"
	"fmt"
	"io"
	"strconv"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// sample is a service or a server at one instant: where its labels stand, and its figures.
type sample struct {
	labels, ipvs span
	dataplane.Counter
	active, inactive, persistent, weight int
	overloaded                           bool
}

// span is a part of a snapshot's text.
type span struct{ from, to int }

// snapshot holds all services and servers. The format wants the samples of a name
// together, and the locks are not for the time of a slow reader, so they are read first.
type snapshot struct {
	text     []byte
	services []sample
	servers  []sample
}

func read(p *dataplane.Plane) *snapshot {
	s := &snapshot{}
	p.EachService(func(svc *dataplane.ServiceStatus) bool {
		s.services = append(s.services, sample{labels: s.labels(svc, nil), Counter: svc.Counter, active: len(svc.Servers)})
		for i := len(svc.Servers) - 1; i >= 0; i-- { // the plane lists the newest first
			d := &svc.Servers[i]
			s.servers = append(s.servers, sample{
				labels: s.labels(svc, d), ipvs: s.ipvsLabels(svc.Key, &d.Server), Counter: d.Counter,
				active: d.Active, inactive: d.Inactive, persistent: d.Persistent, weight: d.Weight, overloaded: d.Overload,
			})
		}
		return true
	})
	return s
}

// labels writes those of a service, or of a server of it. A name stands only where one is
// given, which is the same to Prometheus as an empty one.
func (s *snapshot) labels(svc *dataplane.ServiceStatus, d *dataplane.ServerStatus) span {
	if d == nil {
		return s.labelsOf(svc.Key, svc.Name, nil, "")
	}
	return s.labelsOf(svc.Key, svc.Name, &d.Server, d.Name)
}

func (s *snapshot) labelsOf(k conf.ServiceKey, name string, server fmt.Stringer, serverName string) span {
	from := len(s.text)
	s.text = append(s.text, `{service="`...)
	s.text = append(s.text, k.String()...)
	s.label(`",service_name="`, name)
	if server != nil {
		s.text = append(s.text, `",server="`...)
		s.text = append(s.text, server.String()...)
		s.label(`",server_name="`, serverName)
	}
	s.text = append(s.text, `"} `...)
	return span{from, len(s.text)}
}

func (s *snapshot) label(name, value string) {
	if value != "" {
		s.text = append(s.text, name...)
		s.text = appendEscaped(s.text, value)
	}
}

// appendEscaped writes a label's value as the text format wants it.
func appendEscaped(b []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return b
}

// ipvsLabels are those that node_exporter takes from /proc/net/ip_vs: for a fwmark service
// the mark in hexadecimal and no local address.
func (s *snapshot) ipvsLabels(k conf.ServiceKey, d *conf.Server) span {
	from := len(s.text)
	proto := map[uint8]string{packet.TCP: "TCP", packet.UDP: "UDP", packet.SCTP: "SCTP"}[k.Proto]
	local, mark := "", ""
	if k.Fwmark != 0 {
		proto, mark = "FWM", fmt.Sprintf("%08X", k.Fwmark)
	} else {
		local = k.Addr.String()
	}
	s.text = append(s.text, `{local_address="`...)
	s.text = append(s.text, local...)
	s.text = append(s.text, `",local_mark="`...)
	s.text = append(s.text, mark...)
	s.text = append(s.text, `",local_port="`...)
	s.text = strconv.AppendUint(s.text, uint64(k.Port), 10)
	s.text = append(s.text, `",proto="`...)
	s.text = append(s.text, proto...)
	s.text = append(s.text, `",remote_address="`...)
	s.text = d.Addr.AppendTo(s.text)
	s.text = append(s.text, `",remote_port="`...)
	s.text = strconv.AppendUint(s.text, uint64(d.Port), 10)
	s.text = append(s.text, `"} `...)
	return span{from, len(s.text)}
}

// merged are the servers as node_exporter sees them: the IPv4 and the IPv6 service of a
// mark look the same to it, and of a server that both have it adds the figures up.
func (s *snapshot) merged() []sample {
	first := map[string]int{}
	twice := false
	for i := range s.servers {
		labels := s.text[s.servers[i].ipvs.from:s.servers[i].ipvs.to]
		if !bytes.HasPrefix(labels, []byte(`{local_address="",`)) {
			continue
		}
		_, known := first[string(labels)]
		twice = twice || known
		first[string(labels)] = -1
	}
	if !twice {
		return s.servers
	}
	var all []sample
	for _, x := range s.servers {
		labels := string(s.text[x.ipvs.from:x.ipvs.to])
		switch at, marked := first[labels]; {
		case marked && at >= 0:
			all[at].active += x.active
			all[at].inactive += x.inactive
			all[at].weight += x.weight
			continue
		case marked:
			first[labels] = len(all)
		}
		all = append(all, x)
	}
	return all
}

// family is a metric of services or servers.
type family[T any] struct {
	name, kind, help string
	value            func(*T) uint64
}

const counter, gauge = "counter", "gauge"

// counts are the families that services and servers have both.
func counts(of, what string) []family[sample] {
	return []family[sample]{
		{"dirigo_" + of + "_connections_total", counter, "Connections " + what + " has got.", func(s *sample) uint64 { return s.Conns }},
		{"dirigo_" + of + "_in_packets_total", counter, "Packets from clients to " + what + ".", func(s *sample) uint64 { return s.InPkts }},
		{"dirigo_" + of + "_out_packets_total", counter, "Packets of " + what + " to clients that came by the director.", func(s *sample) uint64 { return s.OutPkts }},
		{"dirigo_" + of + "_in_bytes_total", counter, "Bytes of those from clients, of IP packets.", func(s *sample) uint64 { return s.InBytes }},
		{"dirigo_" + of + "_out_bytes_total", counter, "Bytes of those to clients, of IP packets.", func(s *sample) uint64 { return s.OutBytes }},
	}
}

var serviceFamilies = append(counts("service", "a virtual service"),
	family[sample]{"dirigo_service_servers", gauge, "Real servers of a virtual service.", func(s *sample) uint64 { return uint64(s.active) }})

var serverFamilies = append(counts("server", "a real server"),
	family[sample]{"dirigo_server_active_connections", gauge, "Connections in a state that counts as active, ESTABLISHED above all.", active},
	family[sample]{"dirigo_server_inactive_connections", gauge, "Connections in any other state.", inactive},
	family[sample]{"dirigo_server_persistent_connections", gauge, "Templates of persistence.", func(s *sample) uint64 { return uint64(s.persistent) }},
	family[sample]{"dirigo_server_weight", gauge, "Weight; 0: quiesced.", weight},
	family[sample]{"dirigo_server_overloaded", gauge, "Whether the upper threshold was reached, and the lower not yet again.", func(s *sample) uint64 { return uint64(truth(s.overloaded)) }})

// backendFamilies are node_exporter's.
var backendFamilies = []family[sample]{
	{"node_ipvs_backend_connections_active", gauge, "The current active connections by local and remote address.", active},
	{"node_ipvs_backend_connections_inactive", gauge, "The current inactive connections by local and remote address.", inactive},
	{"node_ipvs_backend_weight", gauge, "The current backend weight by local and remote address.", weight},
}

func active(s *sample) uint64   { return uint64(s.active) }
func inactive(s *sample) uint64 { return uint64(s.inactive) }
func weight(s *sample) uint64   { return uint64(s.weight) }

// writeServices reads all services and servers and writes their figures.
func writeServices(w io.Writer, p *dataplane.Plane) error {
	s := read(p)
	out := &textWriter{w: w, text: s.text}
	for _, f := range serviceFamilies {
		writeFamily(out, &f, s.services, func(x *sample) span { return x.labels })
	}
	for _, f := range serverFamilies {
		writeFamily(out, &f, s.servers, func(x *sample) span { return x.labels })
	}
	backends := s.merged()
	for _, f := range backendFamilies {
		writeFamily(out, &f, backends, func(x *sample) span { return x.ipvs })
	}
	return out.flush()
}
