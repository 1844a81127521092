package ipvsadm

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// lookupTime bounds one question to the resolver.
const lookupTime = 2 * time.Second

// System knows the names of the machine the program runs on: services(5) and whatever its
// resolver finds for hosts. It is a Resolver and a Namer for one goroutine, and keeps
// what it found. The zero System is ready.
type System struct {
	// ServicesFile is read when the first port is asked for; "" is /etc/services. Without
	// the file no port has a name.
	ServicesFile string

	services *Names
	hosts    map[netip.Addr]string // "" where there is no name
	silent   bool                  // the resolver did not answer in time: it is not asked again
}

// Host is of Resolver.
func (s *System) Host(name string) (netip.Addr, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, false
	}
	return addrs[0].Unmap(), true
}

// HostName is of Namer. A listing must not wait for a dead resolver at every line, so
// one that has not answered in two seconds is not asked again.
func (s *System) HostName(a netip.Addr) (string, bool) {
	name, known := s.hosts[a]
	if !known && !s.silent {
		ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
		defer cancel()
		names, _ := net.DefaultResolver.LookupAddr(ctx, a.String()) // no name and no answer are the same here
		s.silent = ctx.Err() != nil
		if len(names) > 0 {
			name = strings.TrimSuffix(names[0], ".")
		}
		if s.hosts == nil {
			s.hosts = make(map[netip.Addr]string)
		}
		s.hosts[a] = name
	}
	return name, name != ""
}

// Service is of Resolver.
func (s *System) Service(name string, proto uint8) (uint16, bool) {
	return s.file().Service(name, proto)
}

// ServiceName is of Namer.
func (s *System) ServiceName(port uint16, proto uint8) (string, bool) {
	return s.file().ServiceName(port, proto)
}

// file reads the services file once.
func (s *System) file() *Names {
	if s.services != nil {
		return s.services
	}
	path := s.ServicesFile
	if path == "" {
		path = "/etc/services"
	}
	s.services = new(Names)
	f, err := os.Open(path)
	if err != nil {
		return s.services
	}
	defer f.Close()
	if n, err := ReadNames(nil, f); err == nil {
		s.services = n
	}
	return s.services
}
