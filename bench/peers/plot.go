package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes of the picture, in pixels.
const (
	plotColumns = 2
	plotWidth   = 1120
	panelWidth  = plotWidth / plotColumns
	labelWidth  = 190 // the forwarders' names
	valueWidth  = 64  // the figure behind a bar
	barStep     = 22
	barHeight   = 14
	panelHead   = 46
	panelFoot   = 46
	plotHead    = 74
)

// colors of a kind of forwarder, by the beginning of its name: the first that fits.
var colors = []struct{ prefix, color, legend string }{
	{"kernel", "#8d99a6", "kernel forwarding"},
	{"nft", "#5b6775", "nftables NAT"},
	{"haproxy", "#e0a145", "proxies"},
	{"nginx", "#e0a145", ""},
	{"bare", "#a9cfe8", "bare AF_PACKET, the ceiling"},
	{"dirigo", "#2166ac", "Dirigo"},
}

// svg draws every table that has an axis: a bar is the median, a whisker the least and
// the most of the rounds.
func svg(r *results) string {
	var panels []string
	var heights []int
	for _, t := range tables() {
		if p, h := t.panel(r); h > 0 {
			panels, heights = append(panels, p), append(heights, h)
		}
	}
	var b strings.Builder
	y := plotHead
	for i := 0; i < len(panels); i += plotColumns {
		row := 0
		for j := i; j < min(i+plotColumns, len(panels)); j++ {
			fmt.Fprintf(&b, "<g transform=\"translate(%d,%d)\">\n%s</g>\n", (j-i)*panelWidth, y, panels[j])
			row = max(row, heights[j])
		}
		y += row
	}
	var head strings.Builder
	fmt.Fprintf(&head, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#222\">\n", plotWidth, y+10)
	head.WriteString("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n")
	fmt.Fprintf(&head, "<text x=\"16\" y=\"26\" font-size=\"17\" font-weight=\"bold\">Dirigo beside its peers</text>\n")
	fmt.Fprintf(&head, "<text x=\"16\" y=\"44\" fill=\"#555\">%s; medians of %s, whiskers from least to most</text>\n", html.EscapeString(r.Machine.String()), rounds(r.Rounds))
	x := 16
	for _, c := range colors {
		if c.legend == "" {
			continue
		}
		fmt.Fprintf(&head, "<rect x=\"%d\" y=\"54\" width=\"11\" height=\"11\" fill=\"%s\"/><text x=\"%d\" y=\"64\">%s</text>\n", x, c.color, x+16, c.legend)
		x += 36 + 7*len(c.legend)
	}
	return head.String() + b.String() + "</svg>\n"
}

// panel draws one table; height 0 if there is nothing to draw.
func (t *table) panel(r *results) (svg string, height int) {
	type bar struct {
		row
		summary
	}
	var bars []bar
	most := 0.0
	for _, f := range r.Rows {
		if t.less && strings.HasSuffix(f.Name, "-blocks") {
			continue // each packet waits for its block: beside that the others' bars vanish; the table has it
		}
		if s := r.summary(f.Name, t.measure, t.of); s.n > 0 {
			bars = append(bars, bar{f, s})
			most = max(most, s.max)
		}
	}
	if t.axis == "" || len(bars) == 0 || most <= 0 {
		return "", 0
	}
	step, end := ticks(most)
	width := float64(panelWidth - labelWidth - valueWidth - 10)
	at := func(v float64) float64 { return labelWidth + v/end*width }
	bottom := panelHead + barStep*len(bars)
	better := "more is better"
	if t.less {
		better = "less is better"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<text x=\"16\" y=\"26\" font-size=\"14\" font-weight=\"bold\">%s</text>\n", html.EscapeString(t.title))
	for i := 0; float64(i)*step <= end*1.0001; i++ {
		v := float64(i) * step
		fmt.Fprintf(&b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1[1]f\" y2=\"%[3]d\" stroke=\"#ddd\"/>", at(v), panelHead-6, bottom)
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" font-size=\"11\" fill=\"#555\">%s</text>\n", at(v), bottom+14, tickText(v))
	}
	fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" font-size=\"11\" fill=\"#555\">%s (%s)</text>\n", at(end/2), bottom+29, html.EscapeString(t.heading), better)
	for i, x := range bars {
		top := panelHead + barStep*i
		middle := float64(top) + barHeight/2
		weight := ""
		if strings.HasPrefix(x.Name, "dirigo") {
			weight = " font-weight=\"bold\""
		}
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\"%s>%s</text>", labelWidth-8, middle+4, weight, html.EscapeString(x.Title))
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", labelWidth, top, at(x.median)-labelWidth, barHeight, colorOf(x.Name))
		if x.n > 1 {
			fmt.Fprintf(&b, "<path d=\"M%.1f %.1fH%.1fM%.1[1]f %.1[4]fv6M%.1[3]f %.1[4]fv6\" stroke=\"#000\" stroke-opacity=\"0.65\" fill=\"none\"/>", at(x.min), middle, at(x.max), middle-3)
		}
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"11\">%s</text>\n", at(x.max)+6, middle+4, digits(x.median))
	}
	return b.String(), bottom + panelFoot
}

func colorOf(name string) string {
	for _, c := range colors {
		if strings.HasPrefix(name, c.prefix) {
			return c.color
		}
	}
	return "#888"
}

// ticks are the steps of an axis from 0 that holds most: 1, 2 or 5 times a power of ten,
// three to six of them.
func ticks(most float64) (step, end float64) {
	step = math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{0.2, 0.5, 1, 2} {
		if n := math.Ceil(most / (step * f) * 0.9999); n <= 6 {
			return step * f, n * step * f
		}
	}
	return step * 2, math.Ceil(most/(step*2)) * step * 2
}

// tickText is a number without needless digits.
func tickText(v float64) string {
	if v >= 10000 {
		return fmt.Sprintf("%gk", v/1000)
	}
	return fmt.Sprintf("%.4g", v)
}
