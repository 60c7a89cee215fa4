package exchange

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestLanguages(t *testing.T) {
	long := strings.Repeat("de,", 85) // 255 bytes
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{nil, "[]"},
		{[]string{""}, "[]"},
		{[]string{"ja,en;q=0.5"}, "[ja en]"},
		{[]string{"en;q=0.5, ja"}, "[ja en]"},
		{[]string{"fr", "ja;q=0.9"}, "[fr ja]"},
		{[]string{"ja,c,abcdefghij;q=0.1,x;q=abc,en"}, "[ja en]"}, // some are ill-formed
		{[]string{"not a language!"}, "[]"},
		{[]string{"ja," + strings.Repeat("e", 300)}, "[ja]"},
		{[]string{strings.Repeat("e", 300)}, "[]"},
		{[]string{long + "ja"}, fmt.Sprint(strings.Fields(strings.ReplaceAll(long, ",", " ")))}, // what does not fit whole
	} {
		t.Run(strings.Join(c.lines, "|"), func(t *testing.T) {
			is := is.New(t)
			is.Equal(fmt.Sprint(Languages(http.Header{"Accept-Language": c.lines})), c.want)
		})
	}
}
