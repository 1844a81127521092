package conntrack

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

// What Out finds, MayAnswer never denies: entries of every method, family and origin, also
// one whose client's port was learnt later.
func TestMayAnswerDeniesNoAnswer(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 9))
	tab := newTable(t, 4000, nil)
	addr := func() (a packet.Addr) {
		if rng.IntN(2) == 0 {
			return ip4(byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()))
		}
		binary.LittleEndian.PutUint64(a[:], rng.Uint64())
		binary.LittleEndian.PutUint64(a[8:], rng.Uint64())
		return a
	}
	var conns []*Conn
	for i := range 3000 {
		c := conn(addr(), uint16(1+rng.IntN(65535)), 1000)
		c.Virtual, c.Dest, c.Flags = addr(), addr(), Flags(rng.IntN(5))
		if i%10 == 0 {
			c.ClientPort, c.Flags = 0, c.Flags|FlagNoCPort
		}
		insert(t, tab, c, 0, 0)
		if k := inKey(c); c.ClientPort == 0 {
			if k.ClientPort = 5555; !tab.FindPortless(k, 0) {
				t.Fatal("not found by its client's first packet")
			}
			c.ClientPort = 5555
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		k := Key{Client: c.Client, ClientPort: c.ClientPort, Other: c.Virtual, OtherPort: c.VirtualPort, Proto: c.Proto}
		if c.Method() == 0 {
			k.Other, k.OtherPort = c.Dest, c.DestPort
		}
		s, h := tab.Lock(c.Proto, &c.Client, c.ClientPort, 0)
		found := s.Out(h, &k) != 0
		s.Unlock()
		if !found {
			t.Fatalf("no entry for an answer from %v to %v", k.Other, k.Client)
		}
		if !tab.MayAnswer(&k.Other) {
			t.Errorf("method %d: %v is said to answer nobody", c.Method(), k.Other)
		}
	}
}

// The set is of use: with a hundred servers hardly a client is taken for one of them.
func TestMayAnswerKnowsClients(t *testing.T) {
	tab := newTable(t, 1000, nil)
	for i := range 100 {
		c := conn(ip4(192, 0, 2, byte(i)), 40000, 1000)
		c.Dest = ip4(10, 1, 0, byte(i))
		insert(t, tab, c, 0, 0)
	}
	taken := 0
	for i := range 10000 {
		if a := ip4(198, byte(i>>16), byte(i>>8), byte(i)); tab.MayAnswer(&a) {
			taken++
		}
	}
	if taken > 100 { // 1 %; 100 bits of 65536 make 15 of 10000
		t.Errorf("%d of 10000 clients may be servers, want at most 100", taken)
	}
}
