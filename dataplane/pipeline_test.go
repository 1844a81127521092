package dataplane_test

import (
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// parse decodes what was sent.
func parse(tb testing.TB, b []byte) *packet.Frame {
	tb.Helper()
	f := packet.NewFrame(b)
	if bad := f.Parse(); bad != packet.None {
		tb.Fatalf("sent a frame that does not parse: %v: %x", bad, b)
	}
	if !f.VerifyTransport() {
		tb.Fatalf("sent a frame with a wrong checksum: %x", b)
	}
	return f
}

// one is the only frame sent, parsed.
func (g *rig) one(s []sent, port int) *packet.Frame {
	g.tb.Helper()
	if len(s) != 1 || s[0].port != port {
		g.tb.Fatalf("%d frames sent (verdict %v, reason %v), want 1 by port %d", len(s), g.v, g.r, port)
	}
	return parse(g.tb, s[0].frame)
}

// The two directions of a NAT connection meet different workers: the answer is
// translated by the one that never saw the SYN.
func TestNATDirectionsOnDifferentWorkers(t *testing.T) {
	g := newRig(t, 2)
	g.serve(packet.TCP, 80, "rr", server(rs1, 8080, conf.NAT))
	f := g.one(g.rx(0, 0, tcp(client, 40000, packet.SYN).Frame(), packet.Vnet{}), 1)
	want := packet.Flow{Src: client, SrcPort: 40000, Dst: rs1, DstPort: 8080, Proto: packet.TCP}
	if f.Flow != want || f.TTL != 63 || f.DstMAC() != hostMAC(1, rs1) || f.SrcMAC() != dirMACs[1] {
		t.Errorf("to the server: %+v ttl %d to %x", f.Flow, f.TTL, f.DstMAC())
	}
	f = g.one(g.rx(1, 1, answer(rs1, 8080, client, 40000, packet.SYN|packet.ACK).Frame(), packet.Vnet{}), 0)
	want = packet.Flow{Src: vip, SrcPort: 80, Dst: client, DstPort: 40000, Proto: packet.TCP}
	if f.Flow != want || f.TTL != 63 || f.DstMAC() != hostMAC(0, client) {
		t.Errorf("to the client: %+v ttl %d to %x", f.Flow, f.TTL, f.DstMAC())
	}
	g.rx(0, 0, tcp(client, 40000, packet.ACK).Frame(), packet.Vnet{})
	if g.trace.Conn == nil || g.trace.Conn.State != "ESTABLISHED" {
		t.Errorf("connection %+v, want ESTABLISHED", g.trace.Conn)
	}
}

// Each way a frame can end has its verdict and its reason.
func TestVerdicts(t *testing.T) {
	lost := tcp(client, 41000, packet.SYN)
	lost.Dst = addr("203.0.113.9")
	other := tcp(client, 41001, packet.SYN)
	other.EthDst = packet.MAC{2, 9, 9, 9, 9, 9}
	lastHop := tcp(client, 41002, packet.SYN)
	lastHop.TTL = 1
	long := tcp(client, 41003, packet.SYN)
	long.Payload = make([]byte, 1480)
	cut := long
	cut.DF = false
	icmp := packet.Spec{Flow: packet.Flow{Src: client, Dst: vip, Proto: packet.ICMP}, ICMPType: 8, Payload: []byte("ping"),
		EthDst: dirMACs[0], EthSrc: hostMAC(0, client)}
	strange := packet.Spec{Flow: packet.Flow{Src: client, Dst: vip, Proto: 89}, Payload: make([]byte, 20), EthDst: dirMACs[0]}
	bare := packet.Spec{Flow: packet.Flow{Src: client, SrcPort: 4000, Dst: vip, DstPort: 80, Proto: packet.SCTP}, EthDst: dirMACs[0]}
	broken := tcp(client, 41004, packet.SYN).Frame()
	broken[14+10] ^= 1
	fromFTP := tcp(client, 20, packet.SYN)
	for _, c := range []struct {
		name   string
		frame  []byte
		v      dataplane.Verdict
		r      dataplane.Reason
		frames int // sent, errors to the client included
	}{
		{"a SYN", tcp(client, 41005, packet.SYN).Frame(), dataplane.Send, dataplane.ForwardNAT, 1},
		{"no SYN, no connection", tcp(client, 41006, packet.ACK).Frame(), dataplane.Taken, dataplane.NoConnection, 1},
		{"SYN with RST", tcp(client, 41007, packet.SYN|packet.RST).Frame(), dataplane.Pass, dataplane.NoConnection, 0},
		{"another address", lost.Frame(), dataplane.Pass, dataplane.NoService, 0},
		{"another host's frame", other.Frame(), dataplane.Pass, dataplane.NotForUs, 0},
		{"from the FTP data port", fromFTP.Frame(), dataplane.Taken, dataplane.FTPData, 1},
		{"TTL spent", lastHop.Frame(), dataplane.Drop, dataplane.TTLExceeded, 1},
		{"too long with DF", long.Frame(), dataplane.Drop, dataplane.TooBig, 1},
		{"too long without DF", cut.Frame(), dataplane.Send, dataplane.ForwardNAT, 2},
		{"echo request to the VIP", icmp.Frame(), dataplane.Taken, dataplane.AnsweredEcho, 1},
		{"a protocol without ports", strange.Frame(), dataplane.Taken, dataplane.NotBalanced, 1},
		{"SCTP without a chunk", bare.Frame(), dataplane.Drop, dataplane.ShortTransport, 0},
		{"bad IP checksum", broken, dataplane.Drop, dataplane.BadIPChecksum, 0},
		{"nothing", nil, dataplane.Drop, dataplane.Short, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 1)
			g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
			s := g.rx(0, 0, c.frame, packet.Vnet{})
			if g.v != c.v || g.r != c.r || len(s) != c.frames {
				t.Errorf("%v, %v, %d frames sent; want %v, %v, %d", g.v, g.r, len(s), c.v, c.r, c.frames)
			}
			for _, f := range s {
				parse(t, f.frame)
			}
			g.workers[0].HandOver()
			if n := g.plane.Reasons()[c.r]; n != 1 {
				t.Errorf("counted %d under %v, want 1", n, c.r)
			}
		})
	}
}

// ip_vs_leave: without a server the client is told port unreachable, also for TCP.
func TestNoDestination(t *testing.T) {
	g := newRig(t, 1)
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	quiesced := server(rs1, 80, conf.NAT)
	quiesced.Weight = 0
	if err := g.plane.EditServer(k, quiesced); err != nil {
		t.Fatal(err)
	}
	f := g.one(g.rx(0, 0, tcp(client, 42000, packet.SYN).Frame(), packet.Vnet{}), 0)
	typ, code := f.ICMPType()
	if g.r != dataplane.NoDestination || f.Flow.Src != vip || f.Flow.Dst != client || typ != 3 || code != 3 {
		t.Errorf("%v, answer %+v type %d code %d; want no_dest, port unreachable from the VIP", g.r, f.Flow, typ, code)
	}
	if n := g.plane.Conns().Len(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}

// A removed server's clients are dropped silently, its answers still pass; added again
// it goes on with its old counts.
func TestRemovedServer(t *testing.T) {
	g := newRig(t, 1)
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	g.rx(0, 0, tcp(client, 43000, packet.SYN).Frame(), packet.Vnet{})
	if err := g.plane.DeleteServer(k, server(rs1, 80, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	if l := g.plane.Lingering(); len(l) != 1 || len(l[0].Servers) != 1 {
		t.Errorf("lingering %+v, want the removed server", l)
	}
	if s := g.rx(0, 0, tcp(client, 43000, packet.ACK).Frame(), packet.Vnet{}); len(s) != 0 || g.v != dataplane.Drop || g.r != dataplane.ServerGone {
		t.Errorf("client's packet: %v, %v, %d sent; want drop, server_gone", g.v, g.r, len(s))
	}
	g.one(g.rx(0, 1, answer(rs1, 80, client, 43000, packet.ACK).Frame(), packet.Vnet{}), 0)
	if err := g.plane.AddServer(k, server(rs1, 80, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	if st := g.plane.Services()[0].Servers[0]; st.Active != 1 {
		t.Errorf("active %d after the return, want its old 1", st.Active)
	}
	g.one(g.rx(0, 0, tcp(client, 43000, packet.ACK).Frame(), packet.Vnet{}), 1)
}

// expire_nodest_conn: the next packet of the client ends the connection, and a SYN is
// scheduled anew at once.
func TestExpireNodestConn(t *testing.T) {
	g := newRig(t, 1)
	g.plane.SetSysctl(conf.Sysctl{ConnReuseMode: 1, ExpireNodestConn: conf.On})
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
	g.rx(0, 0, tcp(client, 44000, packet.SYN).Frame(), packet.Vnet{}) // rr: the newest, rs2
	if err := g.plane.DeleteServer(k, server(rs2, 80, conf.NAT)); err != nil {
		t.Fatal(err)
	}
	if f := g.one(g.rx(0, 0, tcp(client, 44000, packet.SYN).Frame(), packet.Vnet{}), 1); f.Flow.Dst != rs1 {
		t.Errorf("to %v, want the server that is left", f.Flow.Dst)
	}
}

// A removed service leaves no server id in use once its connections have ended, and the
// id serves another server.
func TestTrashIsEmptied(t *testing.T) {
	g := newRig(t, 1)
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	g.rx(0, 0, tcp(client, 45000, packet.SYN).Frame(), packet.Vnet{})
	if err := g.plane.DeleteService(k); err != nil {
		t.Fatal(err)
	}
	for range 400 { // SYN_RECV 60 s, then 120 s in the trash
		g.now += time.Second
		g.rx(0, 0, nil, packet.Vnet{})
		g.plane.Housekeep()
	}
	if l := g.plane.Lingering(); len(l) != 0 {
		t.Errorf("lingering %+v", l)
	}
	g.serve(packet.TCP, 80, "rr", server(rs2, 80, conf.NAT))
	if f := g.one(g.rx(0, 0, tcp(client, 45001, packet.SYN).Frame(), packet.Vnet{}), 1); f.Flow.Dst != rs2 {
		t.Errorf("to %v", f.Flow.Dst)
	}
}

// PPC: within the timeout a client's new connections go to one server.
func TestPersistence(t *testing.T) {
	g := newRig(t, 1)
	g.persist()
	to := func(sport uint16) packet.Addr {
		return g.one(g.rx(0, 0, tcp(client, sport, packet.SYN).Frame(), packet.Vnet{}), 1).Flow.Dst
	}
	first := to(46000)
	for p := uint16(46001); p < 46010; p++ {
		if got := to(p); got != first {
			t.Fatalf("port %d went to %v, want %v", p, got, first)
		}
	}
	if st := g.plane.Services()[0]; st.Servers[0].Persistent+st.Servers[1].Persistent != 1 {
		t.Errorf("templates %+v, want one", st.Servers)
	}
	for range 180 { // the connections' SYN_RECV, then the template
		g.now += time.Second
		g.rx(0, 0, nil, packet.Vnet{})
	}
	if got := to(46020); got == first {
		t.Errorf("after the timeout still %v; rr would go on", got)
	}
}

// fill makes n connections and has each client send flags next.
func (g *rig) fill(n int, flags uint8) {
	g.tb.Helper()
	for _, flags := range []uint8{packet.SYN, flags} {
		for i := range n {
			g.rx(0, 0, tcp(crowd(i), crowdPort, flags).Frame(), packet.Vnet{})
		}
	}
}

// crowd is client i of fill, which sends from crowdPort.
func crowd(i int) packet.Addr {
	return packet.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)})
}

const crowdPort = 1024

// A full table of established connections refuses new ones under its own reason and
// leaves the others.
func TestTableFull(t *testing.T) {
	g := newRig(t, 1) // 100 000 connections
	g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.DR))
	g.fill(100_000, packet.ACK)
	if n := g.plane.Conns().Len(); n != 100_000 {
		t.Fatalf("%d connections", n)
	}
	if s := g.rx(0, 0, tcp(client, 47000, packet.SYN).Frame(), packet.Vnet{}); len(s) != 0 || g.r != dataplane.TableFull {
		t.Errorf("%v, %d sent; want table_full", g.r, len(s))
	}
	g.one(g.rx(0, 0, tcp(crowd(1), crowdPort, packet.ACK).Frame(), packet.Vnet{}), 1)
	if n := g.plane.Conns().Evicted(); n != 0 {
		t.Errorf("%d entries were evicted; none was half open", n)
	}
}

// A flood of SYNs at a table that is full of such already: established connections and
// handshakes that take no longer than the flood takes to fill the table are served, all
// SYNs get an entry, and every end of one is counted for its server.
func TestFloodAtFullTable(t *testing.T) {
	g := newRig(t, 1) // 100 000 connections
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.DR))
	g.fill(1000, packet.ACK)
	flood := func(from, n int) {
		for i := from; i < from+n; i++ {
			g.rx(0, 0, tcp(packet.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), crowdPort, packet.SYN).Frame(), packet.Vnet{})
			if g.r != dataplane.ForwardDR {
				t.Fatalf("SYN %d: %v", i, g.r)
			}
		}
	}
	flood(0, 120_000)
	g.one(g.rx(0, 0, tcp(client, 47000, packet.SYN).Frame(), packet.Vnet{}), 1)
	flood(120_000, 30_000)
	g.one(g.rx(0, 0, tcp(client, 47000, packet.ACK).Frame(), packet.Vnet{}), 1)
	flood(150_000, 100_000)
	for i := range 1000 {
		g.one(g.rx(0, 0, tcp(crowd(i), crowdPort, packet.ACK).Frame(), packet.Vnet{}), 1)
	}
	g.one(g.rx(0, 0, tcp(client, 47000, packet.ACK).Frame(), packet.Vnet{}), 1)
	if n := g.plane.Conns().Len(); n != 100_000 {
		t.Errorf("%d connections, want the table full", n)
	}
	if n := g.plane.Conns().Evicted(); n != 251_001-100_000 {
		t.Errorf("%d evicted, want those that came too many", n)
	}
	g.rx(0, 0, tcp(packet.AddrFrom4([4]byte{100, 0, 0, 1}), crowdPort, packet.ACK).Frame(), packet.Vnet{})
	if g.r != dataplane.NoConnection {
		t.Errorf("%v for one of the oldest SYNs, want no_connection", g.r)
	}
	if st := g.plane.Services()[0]; st.Key != k || st.Servers[0].Active+st.Servers[0].Inactive != 100_000 {
		t.Errorf("the server counts %d and %d connections, want 100000 together", st.Servers[0].Active, st.Servers[0].Inactive)
	}
}

// A super-frame goes to a NAT server whole and to a tunnel in segments, none of them
// lost or changed.
func TestSuperFrames(t *testing.T) {
	super := tcp(client, 48000, packet.ACK|packet.PSH)
	super.Payload = make([]byte, 10_000)
	for i := range super.Payload {
		super.Payload[i] = byte(i * 7)
	}
	vnet := packet.Vnet{Flags: packet.VnetNeedsCsum, GSOType: packet.VnetGSOTCPv4, HdrLen: 54, GSOSize: 1400, CsumStart: 34, CsumOffset: 16}
	unfinished := super.Frame()
	f := packet.NewFrame(unfinished)
	f.Parse()
	sum := packet.Fold(packet.PseudoSum(f.Flow, packet.TCP, int(f.IPEnd-f.L4)))
	unfinished[34+16], unfinished[34+17] = byte(sum>>8), byte(sum)

	g := newRig(t, 1)
	k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT))
	g.rx(0, 0, tcp(client, 48000, packet.SYN).Frame(), packet.Vnet{})
	s := g.rx(0, 0, unfinished, vnet)
	if len(s) != 1 || s[0].vnet != vnet {
		t.Fatalf("%d frames, vnet %+v; want one with its vnet kept", len(s), s)
	}
	out := packet.NewFrame(s[0].frame)
	out.Vnet = s[0].vnet
	if out.Parse() != packet.None || !out.VerifyTransport() || out.Flow.Dst != rs1 {
		t.Errorf("the unfinished checksum was not kept consistent")
	}

	if err := g.plane.DeleteService(k); err != nil {
		t.Fatal(err)
	}
	g.serve(packet.TCP, 80, "rr", server(rs2, 80, conf.Tunnel))
	g.rx(0, 0, tcp(client, 48001, packet.SYN).Frame(), packet.Vnet{})
	super.SrcPort = 48001
	f = packet.NewFrame(super.Frame())
	f.Parse()
	b := super.Frame()
	sum = packet.Fold(packet.PseudoSum(f.Flow, packet.TCP, int(f.IPEnd-f.L4)))
	b[34+16], b[34+17] = byte(sum>>8), byte(sum)
	var got []byte
	for _, seg := range g.rx(0, 0, b, vnet) {
		outer := parse(t, seg.frame)
		if outer.Flow.Proto != packet.IPIP || outer.Flow.Dst != rs2 || seg.vnet != (packet.Vnet{}) {
			t.Fatalf("%+v, vnet %+v; want a finished IPIP packet to the server", outer.Flow, seg.vnet)
		}
		inner := packet.NewIPFrame(seg.frame[34:])
		if bad := inner.Parse(); bad != packet.None || !inner.VerifyTransport() || inner.Flow.Dst != vip {
			t.Fatalf("inner packet: %v %+v", bad, inner.Flow)
		}
		got = append(got, inner.Buf[inner.L4+20:inner.IPEnd]...)
	}
	if string(got) != string(super.Payload) {
		t.Errorf("%d bytes arrived in segments, want the %d sent", len(got), len(super.Payload))
	}
}

// Forged packets cannot make the director flood whom they name.
func TestICMPErrorsAreLimited(t *testing.T) {
	g := newRigRate(t, 1, 1000)
	g.serve(packet.TCP, 80, "rr") // no server: port unreachable for each SYN
	sent := 0
	for i := range 5000 { // in one instant
		sent += len(g.rx(0, 0, tcp(client, uint16(1024+i), packet.SYN).Frame(), packet.Vnet{}))
	}
	if sent != 50 {
		t.Errorf("%d errors at once, want the burst of 50", sent)
	}
	g.now += 10 * time.Millisecond
	sent = 0
	for i := range 100 {
		sent += len(g.rx(0, 0, tcp(client, uint16(1024+i), packet.SYN).Frame(), packet.Vnet{}))
	}
	if sent != 10 {
		t.Errorf("%d errors after 10 ms, want 10 more", sent)
	}
}
