// A counter whose highest bit blinks a LED of an iCEstick about once a second.
module blink(input clk, output led, output [3:0] high);
  reg [23:0] counter = 0;
  always @(posedge clk) counter <= counter + 1;
  assign led = counter[23];
  assign high = counter[22:19];
endmodule
