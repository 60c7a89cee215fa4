package exchange

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/matryer/is"
)

func TestContentType(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		want   string
	}{
		{http.Header{"Content-Type": {"application/json"}}, "application/json"},
		{http.Header{"Content-Type": {"application/json;"}}, "application/json"},
		{http.Header{"Content-Type": {"Application/XML; charset=\"utf-8\""}}, "application/xml"},
		{http.Header{"Content-Type": {"application/json; charset=UTF-8"}, "Content-Encoding": {" Identity "}}, "application/json"},
		{http.Header{}, ""},
		{http.Header{"Content-Type": {""}}, ""},
		{http.Header{"Content-Type": {"text/json"}}, ""},
		{http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, ""},
		{http.Header{"Content-Type": {"application/json", "application/json"}}, ""},
		{http.Header{"Content-Type": {"application/json, application/xml"}}, ""},
		{http.Header{"Content-Type": {"application/json; charset"}}, ""},
		{http.Header{"Content-Type": {"application/json; charset=utf-7"}}, ""},
		{http.Header{"Content-Type": {"application/json; profile=utf-8"}}, ""},
		{http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, ""},
		{http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity", "gzip"}}, ""},
	} {
		t.Run(fmt.Sprint(c.header), func(t *testing.T) {
			is := is.New(t)
			is.Equal(ContentType(c.header, "application/json", "application/xml"), c.want)
		})
	}
}
