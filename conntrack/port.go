package conntrack

import "github.com/dirigo-lb/dirigo/packet"

// FindPortless finds the connection that waits for a packet of k's client to learn its
// port from it (FlagNoCPort; FTP's passive data connection), and gives it that port
// (ip_vs_conn_fill_cport). From then on In finds it. It reports whether there was one.
// No shard may be locked by the caller.
func (t *Table) FindPortless(k *Key, now Tick) bool {
	if !t.WaitsForPort() || k.ClientPort == 0 {
		return false
	}
	zero := *k
	zero.ClientPort = 0
	s, h := t.Lock(k.Proto, &k.Client, 0, now)
	r := s.In(h, &zero)
	if r == 0 {
		s.Unlock()
		return false
	}
	// Its shard is another now. Between the two it is in none, and so found by nobody.
	c := &t.conns[r]
	s.unlink(r)
	s.wheel.remove(t.conns, r)
	s.Unlock()
	t.noPort.Add(-1)
	c.ClientPort = k.ClientPort
	c.Flags &^= FlagNoCPort
	t.attach(r, c.Proto, &c.Client, k.ClientPort, now)
	return true
}

// attach puts a detached entry into the shard of its client's end.
func (t *Table) attach(r Ref, proto uint8, client *packet.Addr, port uint16, now Tick) {
	s, h := t.Lock(proto, client, port, now)
	defer s.Unlock()
	s.link(h, r)
	s.add(r, t.conns[r].expires, now)
}
