package ipvsadm

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/packet"
)

// Names knows the names of files like /etc/hosts and /etc/services. It is a Resolver
// and a Namer. The zero Names knows none; a Names is not changed after ReadNames.
type Names struct {
	addrs    map[string]netip.Addr // IPv4, by lower-case name
	hosts    map[netip.Addr]string // IPv4
	ports    map[service]uint16
	services map[servicePort]string
}

type service struct {
	name  string
	proto uint8
}

type servicePort struct {
	port  uint16
	proto uint8
}

// ReadNames reads hosts(5) and services(5) text; either may be nil. Lines that make no
// sense are passed over, as the C library does; an error is one of reading.
func ReadNames(hosts, services io.Reader) (*Names, error) {
	n := &Names{
		addrs: map[string]netip.Addr{}, hosts: map[netip.Addr]string{},
		ports: map[service]uint16{}, services: map[servicePort]string{},
	}
	if err := eachEntry(hosts, n.addHost); err != nil {
		return nil, fmt.Errorf("read hosts: %w", err)
	}
	if err := eachEntry(services, n.addService); err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	return n, nil
}

// eachEntry gives the words of each line that has two or more to add.
func eachEntry(r io.Reader, add func(words []string)) error {
	if r == nil {
		return nil
	}
	s := bufio.NewScanner(r)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		if words := strings.Fields(line); len(words) > 1 {
			add(words)
		}
	}
	return s.Err()
}

func (n *Names) addHost(words []string) {
	a, err := netip.ParseAddr(words[0])
	if err != nil || !a.Is4() {
		return // names are looked up for IPv4 only
	}
	addOnce(n.hosts, a, words[1])
	for _, name := range words[1:] {
		addOnce(n.addrs, strings.ToLower(name), a)
	}
}

func (n *Names) addService(words []string) {
	number, protoName, _ := strings.Cut(words[1], "/")
	port, err := strconv.ParseUint(number, 10, 16)
	proto := map[string]uint8{"tcp": packet.TCP, "udp": packet.UDP, "sctp": packet.SCTP}[protoName]
	if err != nil || proto == 0 {
		return
	}
	addOnce(n.services, servicePort{uint16(port), proto}, words[0])
	addOnce(n.ports, service{words[0], proto}, uint16(port))
	for _, alias := range words[2:] {
		addOnce(n.ports, service{alias, proto}, uint16(port))
	}
}

// addOnce keeps the first of equal keys, as a search from the top of a file does.
func addOnce[K comparable, V any](m map[K]V, k K, v V) {
	if _, there := m[k]; !there {
		m[k] = v
	}
}

// Host is of Resolver.
func (n *Names) Host(name string) (netip.Addr, bool) {
	a, ok := n.addrs[strings.ToLower(name)]
	return a, ok
}

// Service is of Resolver.
func (n *Names) Service(name string, proto uint8) (uint16, bool) {
	p, ok := n.ports[service{name, proto}]
	return p, ok
}

// HostName is of Namer.
func (n *Names) HostName(a netip.Addr) (string, bool) {
	s, ok := n.hosts[a]
	return s, ok
}

// ServiceName is of Namer.
func (n *Names) ServiceName(port uint16, proto uint8) (string, bool) {
	s, ok := n.services[servicePort{port, proto}]
	return s, ok
}
