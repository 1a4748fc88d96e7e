#!/usr/bin/perl
# The short form of ci/soak: processes are killed at random while clients write
# down what they are told; afterwards every answer is true, and the projection
# is what PostgreSQL says.  CARDX_CHAOS: for how many seconds (12).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Temp ();
use Test::More;

use CardxTest;
use CardxTest::Soak;

my $dir = File::Temp::tempdir('cx.XXXX', DIR => '/tmp', CLEANUP => 1);
chmod 0755, $dir;
my $service = CardxTest::Soak::push_service($dir, 3);
my $t = CardxTest->new(processes => 2, settings => { sms_per_address => 1000,
    CardxTest::Soak::settings($service) })->start;
my $soak = CardxTest::Soak->new($t, clients => 3, service => $service);
$soak->run($ENV{CARDX_CHAOS} || 12);

my $counts = $soak->counts;
cmp_ok($counts->{$_} // 0, '>', 0, "clients got answers: $_")
    for qw(account card patch key fetch contact updates);
cmp_ok($counts->{asked}, '>', 100, "calls: $counts->{asked}");
note(join ', ', map { "$_ $counts->{$_}" } sort keys %$counts);
note('killed: ', join ', ', map { "$_ $soak->{killed}{$_}" }
    sort keys %{ $soak->{killed} });
is(join("\n", $soak->faults), '', 'every answer is true');

my ($code, $output) = $soak->check;
like($code, qr/^[03]$/, 'the projection is what PostgreSQL says')
    or diag($output);
note($output);

$service->stop;
$t->finish;
done_testing;
