package twin

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// sctpHeader is the length of the common header: RFC 9260 section 3.1.
const sctpHeader = 12

// Types of chunks: RFC 9260 section 3.2.
const (
	chunkINIT, chunkABORT, chunkCookieEcho, chunkCookieAck = 1, 6, 10, 11
)

// chunk is the type of the first chunk, false if there is none.
func (p *ip) chunk() (typ uint8, ok bool) {
	if len(p.l4) < sctpHeader+4 {
		return 0, false
	}
	return p.l4[sctpHeader], true
}

// event is what a packet means to the state: the first chunk's type, but an ABORT behind
// a COOKIE ECHO or COOKIE ACK counts instead (set_sctp_state).
func (p *ip) event() string {
	typ, _ := p.chunk()
	if typ == chunkCookieEcho || typ == chunkCookieAck {
		size := int(binary.BigEndian.Uint16(p.l4[sctpHeader+2:]))
		at := sctpHeader + (size+3)&^3
		if size >= 4 && len(p.l4) >= at+4 && p.l4[at] == chunkABORT {
			typ = chunkABORT
		}
	}
	switch typ {
	case 1, 2, 6, 7, 8, 9, 10, 11, 14:
		return sctpEvents[typ]
	}
	return "DATA"
}

var sctpEvents = map[uint8]string{
	1: "INIT", 2: "INIT-ACK", 6: "ABORT", 7: "SHUTDOWN", 8: "SHUTDOWN-ACK", 9: "ERROR", 10: "COOKIE-ECHO", 11: "COOKIE-ACK", 14: "SHUTDOWN-COMPLETE",
}

// translatedSCTP is the packet with an end changed by set. The checksum covers no address:
// it is computed anew, whatever it was, if a port has changed (sctp_dnat_handler).
func (p ip) translatedSCTP(set func(*ip)) ip {
	old := [4]byte(p.l4)
	p.l4, p.wire = append([]byte{}, p.l4...), nil
	if set(&p); [4]byte(p.l4) != old {
		p.setCRC()
	}
	return p
}

// setCRC puts the right checksum in: RFC 9260 appendix A.
func (p *ip) setCRC() {
	copy(p.l4[8:], make([]byte, 4))
	binary.LittleEndian.PutUint32(p.l4[8:], crc32.Checksum(p.l4, crc32.MakeTable(crc32.Castagnoli)))
}

// The state tables of ip_vs_proto_sctp.c: each row is an event, each column a state in
// the order of sctpColumns.
const sctpColumns = "NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL"

var sctpTable = map[string]string{
	"in": `
		DATA              ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
		INIT              I1 IN IN CS CR CW CO CE ES SS SR SA IN IN
		INIT-ACK          CW CW CW CS CR CO CO CE ES SS SR SA RJ CL
		COOKIE-ECHO       CR IN IN CR CR CW CO CE ES SS SR SA RJ CL
		COOKIE-ACK        ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL
		SHUTDOWN          SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
		SHUTDOWN-ACK      CL IN IN CS CR CW CO CE ES CL SR CL RJ CL
		SHUTDOWN-COMPLETE CL CL CL CS CR CW CO CE ES SS SR CL RJ CL
		ERROR             CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL
		ABORT             CL CL CL CL CL RJ CL CL CL CL CL CL CL CL`,
	"out": `
		DATA              ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
		INIT              CW CW CW CW CW CW CW CW ES CW CW CW CW CW
		INIT-ACK          CS CS CS CS CR CW CO CE ES SS SR SA RJ CL
		COOKIE-ECHO       CE CE CE CE CE CE CE CE ES SS SR SA RJ CL
		COOKIE-ACK        ES ES ES ES ES ES ES ES ES SS SR SA RJ CL
		SHUTDOWN          SS SS SS SS SS SS SS SS SS SS SR SA RJ CL
		SHUTDOWN-ACK      SA SA SA SA SA CW CO CE ES SA SA SA RJ CL
		SHUTDOWN-COMPLETE CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
		ERROR             CL CL CL CL CL CW CO CE ES SS SR SA RJ CL
		ABORT             CL RJ CL CL CL CL CL CL CL CL CL CL CL CL`,
	"in only": `
		DATA              ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL
		INIT              I1 IN IN IN IN IN CO CE ES SS SR SA IN IN
		INIT-ACK          CE CE CE CE CE CE CO CE ES SS SR SA RJ CL
		COOKIE-ECHO       ES ES ES ES ES ES CO CE ES SS SR SA RJ CL
		COOKIE-ACK        ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL
		SHUTDOWN          SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
		SHUTDOWN-ACK      CL IN IN CS CR CW CO CE CL CL SR CL RJ CL
		SHUTDOWN-COMPLETE CL CL CL CL CL CW CO CE ES SS CL CL RJ CL
		ERROR             CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
		ABORT             CL CL CL CL CL RJ CL CL CL CL CL CL CL CL`,
}

var sctpNames = map[string]string{
	"NO": "NONE", "I1": "INIT1", "IN": "INIT", "CS": "C-SENT", "CR": "C-REPLIED", "CW": "C-WAIT", "CO": "COOKIE", "CE": "C-ECHOED",
	"ES": "ESTABLISHED", "SS": "S-SENT", "SR": "S-RECEIVED", "SA": "S-ACK-SENT", "RJ": "REJECTED", "CL": "CLOSED",
}

// sctpNext[direction][event][state], states by their listed names.
var sctpNext = func() map[string]map[string]map[string]string {
	all := map[string]map[string]map[string]string{}
	for dir, text := range sctpTable {
		all[dir] = map[string]map[string]string{}
		for line := range strings.Lines(strings.TrimSpace(text)) {
			words := strings.Fields(line)
			row := map[string]string{}
			for i, to := range words[1:] {
				row[sctpNames[strings.Fields(sctpColumns)[i]]] = sctpNames[to]
			}
			all[dir][words[0]] = row
		}
	}
	return all
}()

// sctp makes an SCTP packet of one or two chunks, seldom one that is cut off.
func (g *generator) sctp(p *ip, from, to uint16) {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, g.bytes(8)...)
	for range pick(g.Rand, 1, 1, 2) {
		body := g.bytes(g.IntN(12))
		if g.rarely(8) {
			body = g.bytes(g.size(sctpHeader + 4))
		}
		typ := pick[uint8](g.Rand, 1, 1, 1, 0, 2, 3, 4, 6, 7, 8, 9, 10, 11, 14, uint8(g.Uint32()))
		if len(b) > sctpHeader && g.rarely(2) {
			typ = chunkABORT
		}
		size := 4 + len(body)
		if g.rarely(20) {
			size = g.IntN(size + 4)
		}
		b = binary.BigEndian.AppendUint16(append(b, typ, 0), uint16(size))
		b = append(b, body...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	if g.rarely(40) {
		b = b[:min(len(b), sctpHeader+g.IntN(8))]
	}
	if p.l4 = b; !g.rarely(12) {
		p.setCRC()
	}
}
