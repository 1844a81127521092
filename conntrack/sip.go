package conntrack

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Limits of persistence engine data in bytes: IP_VS_PEDATA_MAXLEN, IP_VS_PENAME_MAXLEN.
const (
	MaxEngineData = 255
	MaxEngineName = 16
)

// SIPEngine is the name of the one persistence engine there is (ipvsadm --pe sip).
const SIPEngine = "sip"

// CallID finds the value of the Call-ID header (RFC 3261 sections 20.8 and 25.1) in the
// payload of a UDP datagram, as ip_vs_pe_sip does. The id is a part of payload. ok is
// false when the header is missing, its value longer than MaxEngineData, or the packet
// ends right behind it: such a packet has no template and is dropped.
//
// The header's name is Call-ID in any case, or i; a header without a colon ends the
// search, one without a well-formed value only that line. What looks like the header in
// the message's body counts too. It does not allocate.
func CallID(payload []byte) (id []byte, ok bool) {
	for i := 0; i < len(payload); i++ {
		if !lineEnd(payload[i]) {
			continue
		}
		// i now rests on a line's first byte, which the loop steps over: it does not
		// end that line, so of two bare LF the second begins no line.
		i += lineEndLen(payload[i:])
		n := headerName(payload[i:])
		if n == 0 {
			continue
		}
		value := skipSpace(payload[i+n:])
		if len(value) == 0 || value[0] != ':' {
			return nil, false
		}
		value = skipSpace(value[1:])
		if n = callIDLen(value); n > 0 {
			if n > MaxEngineData || n == len(value) || !lineEnd(value[n]) {
				return nil, false
			}
			return value[:n:n], true
		}
	}
	return nil, false
}

func lineEnd(c byte) bool { return c == '\r' || c == '\n' }

// lineEndLen is the length of the line end b begins with: CR, LF or CRLF.
func lineEndLen(b []byte) int {
	if len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
		return 2
	}
	return 1
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

var callID = []byte("call-id")

// headerName is the length of the header name that line begins with, 0 if another's. The
// compact form is told from longer names by what follows it: RFC 3261 section 7.3.3.
func headerName(line []byte) int {
	if len(line) < 2 {
		return 0
	}
	if line[0]|0x20 == 'i' && !letter(line[1]) {
		return 1
	}
	if n := len(callID); len(line) >= n && bytes.EqualFold(line[:n], callID) {
		return n
	}
	return 0
}

// skipSpace steps over blanks, and a line end with the blanks that make the next line a
// continuation (LWS in RFC 3261 section 25.1).
func skipSpace(b []byte) []byte {
	i := blanks(b)
	if i < len(b) && lineEnd(b[i]) {
		fold := i + lineEndLen(b[i:])
		if n := blanks(b[fold:]); n > 0 {
			i = fold + n
		}
	}
	return b[i:]
}

func blanks(b []byte) (n int) {
	for n < len(b) && blank(b[n]) {
		n++
	}
	return n
}

// callIDLen is the length of the callid that b begins with, 0 for none: word [ "@" word ]
// in RFC 3261 section 25.1.
func callIDLen(b []byte) int {
	n := wordLen(b)
	if n == 0 || n == len(b) || b[n] != '@' {
		return n
	}
	domain := wordLen(b[n+1:])
	if domain == 0 {
		return 0
	}
	return n + 1 + domain
}

func wordLen(b []byte) (n int) {
	for n < len(b) && wordByte[b[n]] {
		n++
	}
	return n
}

// wordByte is the set of bytes of a word in RFC 3261 section 25.1.
var wordByte = func() (set [256]bool) {
	for c := range set {
		set[c] = letter(byte(c)) || c >= '0' && c <= '9'
	}
	for _, c := range []byte("-.!%*_+`'~()<>:\\\"/[]?{}") {
		set[c] = true
	}
	return set
}()

// Engine keeps what a persistence engine knows of templates: for each the engine's name
// and the data, a Call-ID, that makes it a template of its own. It is a side table of
// one Table, so that only services with an engine pay for it, and holds at most one
// datum for each entry of that table. Its methods are safe for concurrent use.
//
// A template with data has the digest of the data as its client port, so that calls of
// one client, or of all clients under a netmask of 0, spread over shards and chains.
// Listings and sync messages say port 0.
type Engine struct {
	t    *Table
	used atomic.Int64 // len(data): who has no such service takes no lock
	mu   sync.Mutex   // taken inside a shard's lock, never around one
	data map[Ref]engineData
}

type engineData struct{ name, data string }

// NewEngine makes the side table of t.
func NewEngine(t *Table) *Engine { return &Engine{t: t, data: map[Ref]engineData{}} }

// Port is the digest of data under which its templates are stored: the client port for
// Table.Lock, Key and Conn. It is never 0, the port of templates without data.
func (e *Engine) Port(data []byte) uint16 {
	h := e.t.seed[0] ^ uint64(len(data))
	var last [8]byte
	for ; len(data) > 8; data = data[8:] {
		h = e.mix(h, binary.LittleEndian.Uint64(data))
	}
	copy(last[:], data)
	h = e.mix(h, binary.LittleEndian.Uint64(last[:]))
	return uint16(1 + h%0xffff)
}

// mix folds a word into h; the table's secret keeps a caller from choosing the chain.
func (e *Engine) mix(h, word uint64) uint64 {
	hi, lo := bits.Mul64(h^word, e.t.seed[1]|1)
	return hi ^ lo
}

// SetData gives template r, whose shard the caller has locked, its data, which is
// copied. It reports whether name and data have lengths that the kernel allows, from 1
// to MaxEngineName and MaxEngineData bytes; otherwise nothing changes.
func (e *Engine) SetData(r Ref, name string, data []byte) bool {
	if len(name) == 0 || len(name) > MaxEngineName || len(data) == 0 || len(data) > MaxEngineData {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.data[r] = engineData{name, string(data)}
	e.used.Store(int64(len(e.data)))
	return true
}

// Data is what SetData gave r, whose shard the caller has locked; ok is false if nothing.
func (e *Engine) Data(r Ref) (name, data string, ok bool) {
	if e.used.Load() == 0 {
		return "", "", false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d, ok := e.data[r]
	return d.name, d.data, ok
}

// Drop forgets r, whose shard the caller has locked. It must be called before the entry
// is freed, else the next one of that Ref inherits the data.
func (e *Engine) Drop(r Ref) {
	if e.used.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.data, r)
	e.used.Store(int64(len(e.data)))
}

// Template is Shard.Template for a service with an engine: it finds the newest template
// with the client network, virtual end and data (ip_vs_sip_ct_match), 0 for none. s and
// h are what Table.Lock gave for k, and k.ClientPort is Port(data).
func (e *Engine) Template(s *Shard, h uint64, k *Key, data []byte) Ref {
	if e.used.Load() == 0 {
		return 0
	}
	want := family(k.V6) | FlagTemplate
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range s.t.bucket(h).all(s.t.conns) {
		c := &s.t.conns[r]
		if c.isIn(k, want) && e.data[r].data == string(data) && !(s.wheel.late && !s.now.Before(c.expires) && c.Children() == 0) {
			return r
		}
	}
	return 0
}
