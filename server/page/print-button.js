/** The button of the page to print, which a browser without scripts does not need. */
const button = document.getElementById("print");
if (button) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
