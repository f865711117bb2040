The golden script of Pixiecore's own tests, by its static mode: --bootmsg is shown (Pixiecore never does), and BOOTIF is ours.

== file vmlinuz
a kernel
== file initrd.0
one
== file initrd.1
two
== file kickstart.txt
text
== GET /_/ipxe?mac=01:02:03:04:05:06&arch=0
200 text/plain; charset=utf-8
#!ipxe
echo Hello from testing world!
kernel --name kernel http://10.77.0.1:8080/_/file?name=<a kernel
>&type=kernel&mac=01%3A02%3A03%3A04%3A05%3A06
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=<one
>&type=initrd&mac=01%3A02%3A03%3A04%3A05%3A06
initrd --name initrd1 http://10.77.0.1:8080/_/file?name=<two
>&type=initrd&mac=01%3A02%3A03%3A04%3A05%3A06
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=01%3A02%3A03%3A04%3A05%3A06 ||
imgfree ready ||
boot kernel initrd=initrd0 initrd=initrd1 thing=http://10.77.0.1:8080/_/file?name=<text
> foo=bar BOOTIF=01-01-02-03-04-05-06
== GET /_/file?name=kernel
200 application/octet-stream
a kernel
== GET /_/file?name=other-0
200 application/octet-stream
text
== GET /_/file?name=other-1
403 application/json
{"error":"the file's name is none that this server, or another with its key, has made"}
\
=== Files are opened for each request. One that is gone is a 404, Pixiecore's 500.
== file initrd.0
another one
== GET /_/file?name=initrd-0 Range:bytes=0-6
206 application/octet-stream
another
\
== remove initrd.0
== GET /_/file?name=initrd-0
404 text/plain
404 Not Found: the file is not there (any more)
