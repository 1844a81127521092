// Package twin holds the pipeline against a slow twin of it: an obvious forwarder that
// is written on gopacket and plain maps from the kernel's documented behaviour. It knows
// the configuration and must not know how dataplane, conntrack or encap work.
//
// It makes TCP, UDP, SCTP and ICMP errors, services by address and by mark, NAT, DR and
// IP-in-IP, and packets in pieces. Outside it, and never sent here, are
//   - FTP connections that the helper reads along, also when an ICMP error opens them;
//   - ICMP errors about the director's own tunnel packets, GRE and GUE, local servers,
//     FULLNAT, the SIP engine, schedulers' own choices but rr's, expiry, the defences;
//   - IPv4 pieces with DF, pieces to tunnels with IPv6 inside or outside, echo requests in one piece with a
//     fragment header, pieces of protocols that nobody balances, pieces that disagree on
//     where their packet ends, that end off a multiple of 8 or are damaged in themselves:
//     neither recordings nor RFCs say what a director does.
package twin

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
)

// tick is the shortest time after which timers are looked at: a jiffy at HZ=250.
const tick = 4 * time.Millisecond

// A round's clock moves by less than the shortest timeout of a connection, 2 s in NONE.
const ticks = 400

// Of a million random packets, valid and damaged, the pipeline makes what its twin makes:
// the same verdict, the same frames on the same ports byte for byte, the same state of
// the connection. Each round has a network, services and seeds of its own.
func TestTwinAgrees(t *testing.T) {
	seen := map[string]int{}
	frames, different := 0, 0
	for round := range uint64(packets / perRound) {
		n, diff := play(t, round, seen)
		frames += n
		if diff != "" {
			t.Errorf("round %d: %s", round, diff)
			if different++; different == 5 {
				t.Fatal("and so on")
			}
		}
	}
	for i, n := range excused {
		t.Logf("%8d  known difference: %s", n, known[i].name)
		if n == 0 && !t.Failed() {
			t.Errorf("%s: not seen any more", known[i].name)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%8d  %s", seen[rule], rule)
	}
	for _, rule := range rules {
		if seen[rule] < packets/20_000 && !t.Failed() {
			t.Errorf("only %d packets met the rule: %s", seen[rule], rule)
		}
	}
	t.Logf("%d packets in, %d frames out", packets, frames)
}

// play sends one round's packets and returns how many frames came out and the first
// difference.
func play(t *testing.T, round uint64, seen map[string]int) (frames int, diff string) {
	r := rand.New(rand.NewPCG(round, 0x7719))
	n := newNetwork(r)
	for len(n.services) == 0 {
		n = newNetwork(r)
	}
	d, tw := newDirector(t, n), newForwarder(n)
	g := &generator{Rand: r, twin: tw}
	for i := range perRound {
		if i%(perRound/ticks) == 0 {
			d.now += tick
			tw.conns.tick()
		}
		if r.IntN(500) == 0 {
			reconfigure(t, r, d, tw)
		}
		port, in := g.next()
		got := d.receive(port, in)
		want := tw.receive(port, in, d.draw(got))
		rule := want.rule
		if want.conn != nil && want.conn.proto == protoSCTP {
			rule += ", SCTP"
		}
		if len(want.frames) > 1 {
			rule += ", in pieces"
		}
		seen[rule]++
		frames += len(got.frames)
		if what := compare(got, want); what != "" {
			if excuse(got, want) {
				continue
			}
			return frames, fmt.Sprintf("packet %d: %s\nrule: %s\nin by port %d: %s\npipeline: %v, %v\n%s\ntwin: %v\n%s\n%+v",
				i, what, rule, port, decode(in), got.verdict, got.reason, list(got.frames), want.verdict, list(want.frames), n.sysctl)
		}
	}
	for fact, n := range tw.met {
		seen[fact] += n
	}
	return frames, sameCounts(d, tw)
}

// rules are those that a run must have met, each often enough to mean something.
var rules = []string{
	"to the server, by method NAT", "to the server, by method NAT, in pieces",
	"to the server, by method DR", "to the server, by method DR, in pieces",
	"to the server, by method IPIP", "to the server, by method IPIP, in pieces",
	"to the client", "to the client, in pieces", "an answer that needs no translation",
	"TTL spent", "TTL spent, answer", "longer than the MTU, with DF", "longer than the MTU, answer",
	"no route to the server", "the tunnel's MTU is below the least", "the server was removed (expire_nodest_conn=0)",
	"no server available", "no server available, persistent", "no service", "no connection, and none may be opened",
	"a NAT server's packet without a connection (nat_icmp_send)", "source routed (sysctl accept_source_route)",
	"echo reply", "echo request with a wrong checksum", "source port 20: active FTP data of a server",
	"a service by mark",
	"to the server, by method NAT, ICMP error", "to the server, by method DR, ICMP error", "to the server, by method IPIP, ICMP error",
	"to the client, ICMP error", "ICMP error of a server that needs no translation", "ICMP error about no connection",
	"ICMP error with a wrong checksum", "ICMP error, which quotes nothing of use", "ICMP error that made a connection (schedule_icmp)",
	"TTL spent, ICMP error", "SCTP without a chunk", "no association, and none may be opened",
	"to the server, by method NAT, SCTP", "to the server, by method DR, SCTP", "to the server, by method IPIP, SCTP", "to the client, SCTP",
	"a packet in pieces", "a piece, others are missing", "a piece that is refused", "a duplicate of a piece", "a piece that overlaps another",
	"malformed: IPv4 header checksum", "malformed: total length", "malformed: payload length", "malformed: TCP data offset",
	"malformed: the transport header is cut off", "another host's frame", "not an IP packet",
}

// excuse reports whether a difference is known.
func excuse(got result, want outcome) bool {
	for i := range known {
		if known[i].match(got, want) {
			excused[i]++
			return true
		}
	}
	return false
}

var excused = make([]int, len(known))

// compare names the first difference, "" if there is none.
func compare(got result, want outcome) string {
	if got.verdict != want.verdict {
		return "another verdict"
	}
	if len(got.frames) != len(want.frames) {
		return "another number of frames"
	}
	for i, w := range want.frames {
		switch g := got.frames[i]; {
		case g.port != w.port:
			return fmt.Sprintf("frame %d leaves by another port", i)
		case !bytes.Equal(g.bytes, w.bytes):
			at := 0
			for at < min(len(g.bytes), len(w.bytes)) && g.bytes[at] == w.bytes[at] {
				at++
			}
			return fmt.Sprintf("frame %d differs from byte %d on", i, at)
		}
	}
	if want.conn == nil || want.verdict == dataplane.Drop {
		return ""
	}
	if got.conn == nil {
		return "the pipeline knows no connection"
	}
	if w, g := want.conn, got.conn; g.State != w.state || g.Dest != w.dest || g.Method != w.method || g.Client != w.client || g.Virtual != w.virtual {
		return fmt.Sprintf("connection: the pipeline has %+v, the twin %+v", *g, *w)
	}
	return ""
}

// reconfigure changes a server's weight, removes a server or brings one back.
func reconfigure(t *testing.T, r *rand.Rand, d *director, tw *forwarder) {
	s := pick(r, tw.services...)
	switch {
	case len(s.gone) > 0 && r.IntN(2) == 0:
		c := pick(r, s.gone...).Server
		check(t, d.plane.AddServer(s.Key, c))
		s.add(c)
	case len(s.servers) == 0:
	case r.IntN(2) == 0:
		i := r.IntN(len(s.servers))
		check(t, d.plane.DeleteServer(s.Key, s.servers[i].Server))
		s.remove(i)
	default:
		srv := pick(r, s.servers...)
		srv.Weight = pick(r, 0, 1, 2)
		check(t, d.plane.EditServer(s.Key, srv.Server))
	}
	d.plane.Publish()
}

// sameCounts holds the connections that servers count against the twin's.
func sameCounts(d *director, tw *forwarder) string {
	d.now += tick
	tw.conns.tick()
	d.turn()
	type key struct {
		service conf.ServiceKey
		addr    netip.Addr
	}
	counts := map[key][2]int{}
	for _, s := range tw.services {
		for _, srv := range s.servers {
			n := [2]int{}
			for _, conns := range tw.conns {
				for _, c := range conns {
					if c.server == srv && c.active() {
						n[0]++
					} else if c.server == srv {
						n[1]++
					}
				}
			}
			counts[key{s.Key, srv.Addr}] = n
		}
	}
	for _, s := range d.plane.Services() {
		for _, srv := range s.Servers {
			if got, want := [2]int{srv.Active, srv.Inactive}, counts[key{s.Key, srv.Addr}]; got != want {
				return fmt.Sprintf("service %v, server %v: active and inactive %v, the twin has %v", s.Key, srv.Addr, got, want)
			}
		}
	}
	return ""
}

// list decodes frames.
func list(frames []frame) string {
	var b strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&b, "by port %d: %s\n", f.port, decode(f.bytes))
	}
	return b.String()
}

// decode is gopacket's view of a frame, and its beginning in hex.
func decode(b []byte) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d bytes %x", len(b), b[:min(len(b), 120)])
	for _, l := range gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy).Layers() {
		text := gopacket.LayerString(l)
		fmt.Fprintf(&s, "\n    %s", text[:min(len(text), 400)])
	}
	return s.String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
