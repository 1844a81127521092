package dataplane_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/dataplane"
	"github.com/dirigo-lb/dirigo/packet"
)

// A client that asks in vain sends its SYN at 0, 1, 3 and 7 seconds; with a look each two
// seconds it is told of once, as is a refusal. Answered connections and others' are not.
func TestSignsAreSeenOnce(t *testing.T) {
	for offset := time.Duration(0); offset < 2*time.Second; offset += 300 * time.Millisecond {
		g := newRig(t, 1)
		k := g.serve(packet.TCP, 80, "rr", server(rs1, 80, conf.NAT), server(rs2, 80, conf.NAT))
		of := []dataplane.ServerOf{{Service: k, Server: conf.ServerID{Addr: rs2.Netip(), Port: 80}}, {Service: k, Server: conf.ServerID{Addr: rs1.Netip(), Port: 80}}}
		to := func(sport uint16, flags uint8) packet.Addr {
			return g.one(g.rx(0, 0, tcp(client, sport, flags).Frame(), packet.Vnet{}), 1).Flow.Dst
		}
		sum := map[packet.Addr]dataplane.Signs{}
		silent := map[uint16]packet.Addr{}
		for tick := range 150 { // of 0.1 s
			at := time.Duration(tick) * 100 * time.Millisecond
			switch at {
			case 0:
				for sport := uint16(100); sport < 110; sport++ {
					switch dst := to(sport, packet.SYN); sport % 10 / 2 {
					case 0, 1: // nobody answers
						silent[sport] = dst
					case 2: // refused
						g.rx(0, 1, answer(dst, 80, client, sport, packet.RST|packet.ACK).Frame(), packet.Vnet{})
					default: // established, and then reset by one side
						g.rx(0, 1, answer(dst, 80, client, sport, packet.SYN|packet.ACK).Frame(), packet.Vnet{})
						to(sport, packet.ACK)
						if sport%10/2 == 4 {
							g.rx(0, 1, answer(dst, 80, client, sport, packet.RST).Frame(), packet.Vnet{})
						}
					}
				}
				g.workers[0].HandOver()
			case time.Second, 3 * time.Second, 7 * time.Second:
				for sport := range silent {
					to(sport, packet.SYN)
				}
			}
			if (at+offset)%(2*time.Second) == 0 {
				for i, s := range g.plane.Signs(of, 2*time.Second) {
					a := packet.AddrFrom(of[i].Server.Addr)
					was := sum[a]
					sum[a] = dataplane.Signs{Conns: s.Conns, Unanswered: was.Unanswered + s.Unanswered, Refused: was.Refused + s.Refused}
				}
			}
			g.now += 100 * time.Millisecond
		}
		want := dataplane.Signs{Conns: 5, Unanswered: 2, Refused: 1}
		if !reflect.DeepEqual(sum, map[packet.Addr]dataplane.Signs{rs1: want, rs2: want}) {
			t.Errorf("looked %v after: %+v, want %+v of each", offset, sum, want)
		}
	}
}
