package conntrack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/dirigo-lb/dirigo/packet"
)

const invite = "INVITE sip:x@y SIP/2.0\r\n"

// A datagram that a kernel director kept sticky, and the synced template's data.
func TestCallIDOfRecordedFrames(t *testing.T) {
	for _, c := range []struct{ payload, want string }{
		{"494e56495445207369703a784079205349502f322e300d0a43616c6c2d49443a2061626340680d0a0d0a", "abc@h"},
		{"494e56495445207369703a784079205349502f322e300d0a5669613a205349502f322e302f55445020683b6272616e63683d7a0d0a" +
			"43616c6c2d49443a2064656640680d0a436f6e74656e742d4c656e6774683a20300d0a0d0a", "def@h"},
		{"6e6f2063616c6c206964", ""}, // dropped by the kernel
	} {
		b, err := hex.DecodeString(c.payload)
		if err != nil {
			t.Fatal(err)
		}
		if id, ok := CallID(b); string(id) != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", b, id, ok, c.want)
		}
	}
}

func TestCallID(t *testing.T) {
	long := strings.Repeat("x", 250)
	for _, c := range []struct{ name, payload, want string }{
		{"no payload", "", ""},
		{"full name", invite + "Call-ID: f81d4fae-7dec@10.0.0.1\r\n\r\n", "f81d4fae-7dec@10.0.0.1"},
		{"any case", invite + "cALL-id: a\r\n", "a"},
		{"compact", invite + "i:a@b\r\n", "a@b"},
		{"compact, capital", invite + "I : a@b\r\n", "a@b"},
		{"a longer name that begins with i", invite + "Identity: x\r\ni: a\r\n", "a"},
		{"the first line is no header", "Call-ID: a\r\n\r\n", ""},
		{"the name in the middle of a line", invite + "X-Call-ID: a\r\n", ""},
		{"bare LF, bare CR", "X\nVia: y\rCall-ID:a\n", "a"},
		{"no domain", invite + "Call-ID: just.a-word\r\n", "just.a-word"},
		{"blanks around the colon", invite + "Call-ID \t: \t a@b\r\n", "a@b"},
		{"folded after the colon", invite + "Call-ID:\r\n  a@b\r\n", "a@b"},
		{"folded before the colon", invite + "Call-ID\n :a@b\r\n", "a@b"},
		{"the name on a continuation line", invite + "Subject: z\r\n Call-ID: a\r\ni: b\r\n", "b"},
		{"no value, and the next line is another header", invite + "Call-ID:\r\nTo: x\r\n", ""},
		{"every word character", invite + "i: azAZ09!\"%'()*+-./:<>?[\\]_`{}~@z\r\n", "azAZ09!\"%'()*+-./:<>?[\\]_`{}~@z"},
		{"a comma ends the word", invite + "i: a,b\r\n", ""},
		{"a blank behind the value", invite + "i: a@b \r\n", ""},
		{"a second @", invite + "i: a@b@c\r\n", ""},
		{"nothing behind @, then a good one", invite + "i: a@\r\ni: b@c\r\n", "b@c"},
		{"nothing before @", invite + "i: @b\r\n", ""},
		{"no colon ends the search", invite + "Call-IDs: x\r\nCall-ID: a\r\n", ""},
		{"the packet ends behind the value", invite + "Call-ID: a@b", ""},
		{"the packet ends behind the name", invite + "Call-ID", ""},
		{"the packet ends behind the colon", invite + "i:", ""},
		{"the packet ends behind i", invite + "i", ""},
		{"255 bytes", invite + "i: " + long + "@abcd\r\n", long + "@abcd"},
		{"256 bytes", invite + "i: " + long + "@abcde\r\n", ""},
		{"too long ends the search", invite + "i: " + long + "@abcde\r\ni: a\r\n", ""},
		{"the first of two", invite + "i: a\r\nCall-ID: b\r\n", "a"},
		{"behind an empty line of CRLF", invite + "\r\ni: a\r\n", "a"},
		{"behind an empty line of LF", "X\n\ni: a\n", ""},
		{"not letters of ASCII", invite + "i: \xe9\r\n", ""},
	} {
		if id, ok := CallID([]byte(c.payload)); string(id) != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v; want %q", c.name, id, ok, c.want)
		}
	}
}

var (
	slowEnd    = regexp.MustCompile(`\r\n|\r|\n`)
	slowName   = regexp.MustCompile(`^(?i:call-id|i(?-i:[^A-Za-z]))`)
	slowBefore = regexp.MustCompile(`^(?i:call-id|i)[ \t]*(?:(?:\r\n|\r|\n)[ \t]+)?:[ \t]*(?:(?:\r\n|\r|\n)[ \t]+)?`)
	slowID     = regexp.MustCompile("^[A-Za-z0-9!\"%'()*+\\-./:<>?\\[\\\\\\]_`{}~]+(?:@(?:[A-Za-z0-9!\"%'()*+\\-./:<>?\\[\\\\\\]_`{}~]*))?")
)

// slowCallID says the rules in regular expressions; p is ASCII.
func slowCallID(p string) string {
	for at := 0; at < len(p); {
		end := slowEnd.FindStringIndex(p[at:])
		if end == nil {
			break
		}
		line := p[at+end[1]:]
		at += end[1] + 1
		if !slowName.MatchString(line) {
			continue
		}
		before := slowBefore.FindString(line)
		if before == "" {
			break
		}
		value := line[len(before):]
		id := slowID.FindString(value)
		if id == "" || strings.HasSuffix(id, "@") {
			continue
		}
		if len(id) <= 255 && slowEnd.MatchString(value[len(id):min(len(id)+1, len(value))]) {
			return id
		}
		break
	}
	return ""
}

func FuzzCallID(f *testing.F) {
	for _, s := range []string{"", invite + "Call-ID: abc@h\r\n\r\n", "\ni:\r\n x@y\n", "\r\rI\t: a@\n\ni:b\r\n", "\n\ni: a\n", "\nCall-ID\n : a\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := CallID(b)
		if ok != (len(id) > 0) || len(id) > MaxEngineData {
			t.Fatalf("%q: %q, %v", b, id, ok)
		}
		for i := range b {
			b[i] &= 0x7f // regular expressions read UTF-8
		}
		id, _ = CallID(b)
		if want := slowCallID(string(b)); string(id) != want {
			t.Fatalf("%q: %q, want %q", b, id, want)
		}
	})
}

// The same comparison with messages made of the pieces that matter.
func TestCallIDAgreesWithItsTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\r\n", "\r", "\n", " ", "\t", ":", "i", "I", "Call-ID", "call-id", "a", "@", "a@b", ",", "Via", "\ni:", "\r\nCall-ID: ", strings.Repeat("y", 128)}
	found := 0
	for range 20000 {
		var b strings.Builder
		for range rng.IntN(14) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		id, _ := CallID([]byte(b.String()))
		if want := slowCallID(b.String()); string(id) != want {
			t.Fatalf("%q: %q, want %q", b.String(), id, want)
		}
		if len(id) > 0 {
			found++
		}
	}
	if found < 300 {
		t.Errorf("only %d messages had a Call-ID: the test says little", found)
	}
}

// call is a template of a SIP service for one call.
func call(e *Engine, client packet.Addr, id string) *Conn {
	return &Conn{Client: client, ClientPort: e.Port([]byte(id)), Virtual: ip4(10, 0, 1, 100), VirtualPort: 5060,
		Dest: ip4(10, 0, 2, 11), DestPort: 5060, Proto: packet.UDP, Server: NoServer, Flags: FlagTemplate, Timeout: 100}
}

func insertCall(t testing.TB, tab *Table, e *Engine, client packet.Addr, id string, now Tick) Ref {
	t.Helper()
	c := call(e, client, id)
	s, h := tab.Lock(c.Proto, &c.Client, c.ClientPort, now)
	defer s.Unlock()
	r, err := s.Insert(h, c, 0, now)
	if err != nil || !e.SetData(r, SIPEngine, []byte(id)) {
		t.Fatal(r, err)
	}
	return r
}

func findCall(tab *Table, e *Engine, client packet.Addr, id []byte) Ref {
	k := Key{Client: client, ClientPort: e.Port(id), Other: ip4(10, 0, 1, 100), OtherPort: 5060, Proto: packet.UDP}
	s, h := tab.Lock(k.Proto, &k.Client, k.ClientPort, 0)
	defer s.Unlock()
	return e.Template(s, h, &k, id)
}

// Stickiness is by client network and Call-ID together, as recorded.
func TestEngineTellsCallsApart(t *testing.T) {
	tab := newTable(t, 100, nil)
	e := NewEngine(tab)
	one, other := ip4(192, 0, 2, 7), ip4(192, 0, 2, 8)
	if findCall(tab, e, one, []byte("abc@h")) != 0 {
		t.Error("found in an empty table")
	}
	abc := insertCall(t, tab, e, one, "abc@h", 0)
	def := insertCall(t, tab, e, one, "def@h", 0)
	for _, c := range []struct {
		client packet.Addr
		id     string
		want   Ref
	}{{one, "abc@h", abc}, {one, "def@h", def}, {one, "ghi@h", 0}, {one, "ABC@h", 0}, {one, "abc@", 0}, {other, "abc@h", 0}} {
		if got := findCall(tab, e, c.client, []byte(c.id)); got != c.want {
			t.Errorf("%s of %s: entry %d, want %d", c.id, c.client, got, c.want)
		}
	}
	if name, data, ok := e.Data(abc); name != "sip" || data != "abc@h" || !ok {
		t.Errorf("data %q %q %v", name, data, ok)
	}
	if _, _, ok := e.Data(abc + def); ok {
		t.Error("data of an entry without")
	}
	again := insertCall(t, tab, e, one, "abc@h", 0)
	if got := findCall(tab, e, one, []byte("abc@h")); got != again {
		t.Errorf("entry %d, want the newest, %d", got, again)
	}
}

// A digest may be shared: then the data decides.
func TestEngineComparesDataNotDigests(t *testing.T) {
	tab := newTable(t, 100, nil)
	e := NewEngine(tab)
	client := ip4(192, 0, 2, 7)
	want := e.Port([]byte("first@h"))
	twin := ""
	for i := range 10 * 65535 {
		if id := fmt.Sprintf("call%d@h", i); e.Port([]byte(id)) == want {
			twin = id
			break
		}
	}
	if twin == "" {
		t.Fatal("no other Call-ID has this digest")
	}
	first, second := insertCall(t, tab, e, client, "first@h", 0), insertCall(t, tab, e, client, twin, 0)
	if a, b := findCall(tab, e, client, []byte("first@h")), findCall(tab, e, client, []byte(twin)); a != first || b != second {
		t.Errorf("entries %d and %d, want %d and %d", a, b, first, second)
	}
}

// A service that loses or gains its engine does not see the other kind of template, a
// disabled template is not found, and other families and virtual ends are not either.
func TestEngineTemplateNeedsItsWholeKey(t *testing.T) {
	tab := newTable(t, 100, nil)
	e := NewEngine(tab)
	client, id := ip4(192, 0, 2, 7), []byte("abc@h")
	r := insertCall(t, tab, e, client, "abc@h", 0)
	plain := call(e, client, "abc@h")
	plain.ClientPort = 0
	insert(t, tab, plain, 0, 0)

	k := Key{Client: client, ClientPort: e.Port(id), Other: ip4(10, 0, 1, 100), OtherPort: 5060, Proto: packet.UDP}
	s, h := tab.Lock(k.Proto, &k.Client, k.ClientPort, 0)
	for name, wrong := range map[string]func(k *Key){
		"family":        func(k *Key) { k.V6 = true },
		"virtual addr":  func(k *Key) { k.Other = ip4(10, 0, 1, 101) },
		"virtual port":  func(k *Key) { k.OtherPort = 5061 },
		"client":        func(k *Key) { k.Client = ip4(192, 0, 2, 9) },
		"protocol":      func(k *Key) { k.Proto = packet.TCP },
		"plain service": func(k *Key) { k.ClientPort = 0 },
	} {
		k := k
		wrong(&k)
		if got := e.Template(s, h, &k, id); got != 0 {
			t.Errorf("%s: found %d", name, got)
		}
	}
	if got := e.Template(s, h, &k, id); got != r {
		t.Errorf("found %d, want %d", got, r)
	}
	s.Disable(r)
	if got := e.Template(s, h, &k, id); got != 0 {
		t.Error("a disabled template was found")
	}
	if _, data, _ := e.Data(r); data != "abc@h" {
		t.Error("a disabled template lost what listings show")
	}
	e.Drop(r)
	if _, _, ok := e.Data(r); ok {
		t.Error("dropped data is still there")
	}
	s.Unlock()
}

func TestEngineRefusesWhatTheKernelDoes(t *testing.T) {
	e := NewEngine(newTable(t, 10, nil))
	for _, c := range []struct {
		name string
		data int
		want bool
	}{{"sip", 1, true}, {"sip", 255, true}, {"sip", 0, false}, {"sip", 256, false}, {"", 1, false}, {strings.Repeat("n", 16), 1, true}, {strings.Repeat("n", 17), 1, false}} {
		if got := e.SetData(7, c.name, make([]byte, c.data)); got != c.want {
			t.Errorf("name %q, %d bytes: %v", c.name, c.data, got)
		}
		if _, _, ok := e.Data(7); ok != c.want {
			t.Errorf("name %q, %d bytes: kept %v", c.name, c.data, ok)
		}
		e.Drop(7)
	}
}

// Under a netmask of 0 all calls have one client: they must not share one chain. Digests
// are never 0, and those of ids that differ in one byte are not alike.
func TestEngineSpreadsCalls(t *testing.T) {
	tab, err := New(Config{Max: 100, Seed: [2]uint64{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f}})
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	e := NewEngine(tab)
	const calls = 1 << 16
	var perPort [1 << 16]int
	for i := range calls {
		perPort[e.Port(fmt.Appendf(nil, "%08d-a-long-common-part@host.example", i))]++
	}
	most, used := 0, 0
	for _, n := range perPort {
		most = max(most, n)
		if n > 0 {
			used++
		}
	}
	// Balls into bins: 1-1/e of the bins used; the fullest has about ln n/ln ln n.
	if perPort[0] != 0 || most > 12 || used < calls*60/100 {
		t.Errorf("digest 0: %d, the commonest: %d, different: %d", perPort[0], most, used)
	}
	if e.Port([]byte{0}) == e.Port([]byte{0, 0}) {
		t.Error("padding and data look alike")
	}
}

func TestEngineIsSafeForConcurrentUse(t *testing.T) {
	tab := newTable(t, 1000, nil)
	e := NewEngine(tab)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			client := ip4(192, 0, 2, byte(w))
			for i := range 200 {
				id := fmt.Sprintf("%d@h", i)
				r := insertCall(t, tab, e, client, id, 0)
				if got := findCall(tab, e, client, []byte(id)); got != r {
					t.Errorf("worker %d: entry %d, want %d", w, got, r)
				}
				if i%2 == 0 {
					e.Drop(r)
				}
			}
		})
	}
	wg.Wait()
	if n := e.used.Load(); n != 4*100 {
		t.Errorf("%d data kept, want 400", n)
	}
}

func TestSIPLookupAllocatesNothing(t *testing.T) {
	tab := newTable(t, 100, nil)
	e := NewEngine(tab)
	client := ip4(192, 0, 2, 7)
	long := strings.Repeat("x", 200) + "@h"
	insertCall(t, tab, e, client, long, 0)
	p := []byte(invite + "Via: SIP/2.0/UDP h;branch=z\r\nCall-ID: " + long + "\r\n\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		id, ok := CallID(p)
		if !ok || findCall(tab, e, client, id) == 0 {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		t.Error("the payload was written to")
	}
}
